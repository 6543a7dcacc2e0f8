package service

import (
	"fmt"
	"slices"

	"uvs/forwarder/config"
	"uvs/forwarder/state"
)

// Marks returns the rules that give packets firewall marks, in order.
func (s *Table) Marks() []config.MarkRule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.marks)
}

// SetMarks replaces all mark rules. It may fail with ErrInvalid, and then
// changes nothing.
func (s *Table) SetMarks(rules []config.MarkRule) error {
	fresh := make([]config.MarkRule, len(rules))
	for i, r := range rules {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
		fresh[i] = r.Normal()
	}
	return s.changeMarks(func() error {
		for _, n := range s.markNumbers {
			s.forget(state.Mark, n)
		}
		s.marks, s.markNumbers = nil, nil
		for _, r := range fresh {
			s.addMark(r)
		}
		return nil
	})
}

// AddMark appends a mark rule: it overrules those before it. It may fail with
// ErrInvalid.
func (s *Table) AddMark(r config.MarkRule) error {
	if err := r.Validate(); err != nil {
		return err
	}
	return s.changeMarks(func() error {
		s.marks = slices.Clip(s.marks)
		s.addMark(r.Normal())
		return nil
	})
}

// addMark appends a rule that is in its normal form.
func (s *Table) addMark(r config.MarkRule) {
	n := uint32(1)
	if last := len(s.markNumbers); last > 0 {
		n = s.markNumbers[last-1] + 1
	}
	s.marks = append(s.marks, r)
	s.markNumbers = append(s.markNumbers, n)
	s.keep(state.Mark, n, r)
}

// DeleteMark removes the first rule that equals r. It may fail with
// ErrNoSuchMark.
func (s *Table) DeleteMark(r config.MarkRule) error {
	return s.changeMarks(func() error {
		i := slices.Index(s.marks, r.Normal())
		if i < 0 {
			return fmt.Errorf("%s: %w", r, config.ErrNoSuchMark)
		}
		s.marks = slices.Delete(slices.Clone(s.marks), i, i+1)
		s.forget(state.Mark, s.markNumbers[i])
		s.markNumbers = slices.Delete(s.markNumbers, i, i+1)
		return nil
	})
}

// changeMarks is change for the mark rules.
func (s *Table) changeMarks(f func() error) error {
	return s.change(func() error { s.markChanges++; return f() })
}

// MarkVersion returns the number of the last change of the mark rules, or of the
// marks that services have.
func (s *Table) MarkVersion() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.markChanges
}

// MarkRules returns the mark rules and the number of the change that made them. The
// last rule comes first, so that the first one that matches counts. Rules whose mark
// no service has stay among them as exceptions from those after them.
func (s *Table) MarkRules() ([]MarkRule, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := s.snapshot.Load()
	all := make([]MarkRule, 0, 2*len(s.marks))
	for _, c := range slices.Backward(s.marks) {
		for _, family := range []config.Family{config.IPv4, config.IPv6} {
			if f := c.Family(); f != 0 && f != family {
				continue
			}
			served := c.Mark != 0 && snapshot.lookup(markTarget(c.Mark, family)) != nil
			all = append(all, MarkRule{MarkRule: c, AF: family, Served: served})
		}
	}
	return all, s.markChanges
}
