package service

import "uvs/forwarder/config"

// SetVIPRole says when the director answers for the virtual address of a service;
// config.VIPDefault leaves it to the director. It may fail with ErrNoSuchService or
// ErrInvalid.
func (s *Table) SetVIPRole(k config.Key, role config.VIPRole) error {
	return s.change(func() error { return s.setVIPRole(k, role) })
}

func (s *Table) setVIPRole(k config.Key, role config.VIPRole) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	if err := role.Validate(); err != nil {
		return err
	}
	if v.VIPRole != role && v.Mark != 0 {
		s.markChanges++ // what follows from its rules changes
	}
	s.editable(v).VIPRole = role
	return nil
}
