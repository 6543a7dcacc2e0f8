package state

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// File is a file that is mapped into memory: what is written there is there for the
// next process.
type File struct {
	name    string
	file    *os.File
	bytes   []byte
	mapping []byte // with what aligns bytes to huge pages
}

// Mapping maps what is there under a name. It returns nil if nothing is, and a
// Refused for a file that can be nobody's. The caller judges the contents: a file
// that Create made and nobody wrote to is all zero.
func (s *State) Mapping(name string) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.place.open(name)
	if f == nil || err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		err = refuse(name, "it is empty")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s.mapFile(name, f, int(info.Size()))
}

// Create makes a file of a size in bytes, all zero, maps it and has it filled before it
// takes the place of one that has the name. fill can be nil. Memory is used for the
// file as it is written to or reserved.
func (s *State) Create(name string, size int, fill func([]byte) error) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.place.create(name)
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("state: %s: %w", name, err)
	}
	m, err := s.mapFile(name, f, size)
	if err != nil {
		return nil, err
	}
	if fill != nil {
		err = fill(m.bytes)
	}
	if err == nil && s.whole {
		err = s.place.spare(name)
	}
	if err == nil {
		err = s.place.put(name, f)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (s *State) mapFile(name string, f *os.File, size int) (*File, error) {
	m, err := mapAligned(f, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	m.name = name
	s.files = append(s.files, m)
	return m, nil
}

// mapBytes maps a part of a file that begins at a page.
func mapBytes(f *os.File, offset int64, size int) ([]byte, error) {
	b, err := unix.Mmap(int(f.Fd()), offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("state: map %d KiB: %w", size>>10, err)
	}
	return b, nil
}

// Bytes returns the memory of the file. It begins at a huge page.
func (f *File) Bytes() []byte { return f.bytes }

// Reserve makes the memory of n bytes from an offset exist, zero where it was not
// used. To touch what is not reserved kills the process if the file system is full
// (SIGBUS); here it is an error.
func (f *File) Reserve(offset, n int) error { return reserve(f.name, f.file, int64(offset), int64(n)) }

// reserve is Reserve for a file that need not be mapped. A file system that cannot
// reserve has to have room.
func reserve(name string, f *os.File, offset, n int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, n)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("state: %s: no room for %d KiB more: %w", name, n>>10, err)
	}
	return nil
}

// Close unmaps the file; it stays where it is. Close does nothing the second time.
func (f *File) Close() error {
	if f.bytes == nil {
		return nil
	}
	b := f.mapping
	f.bytes, f.mapping = nil, nil
	return errors.Join(unix.Munmap(b), f.file.Close())
}
