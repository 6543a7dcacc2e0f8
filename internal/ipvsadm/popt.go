package ipvsadm

import "strings"

// argument says whether an option has an argument.
type argument uint8

const (
	none     argument = iota
	required          // the rest of a cluster, what follows "=", or the next word
	optional          // as required, but no next word that begins with "-"
)

// spec is one line of an option table, as in popt(3).
type spec struct {
	id    option
	long  string
	short byte // 0 for none
	arg   argument
}

// The errors of popt(3), with its texts.
type poptError string

const (
	errUnknown  poptError = "unknown option"
	errMissing  poptError = "missing argument"
	errUnwanted poptError = "option does not take an argument"
)

func (e poptError) Error() string { return string(e) }

// scanner splits a command line as popt(3) does: short options in clusters, with their
// argument attached, after "=" or in the next word; long options in full, with their
// argument after "=" or in the next word; other words anywhere; all words after "--".
type scanner struct {
	specs   []spec
	words   []string
	next    int      // index of the next word
	cluster string   // what is left of a cluster of short options
	rest    []string // words that are not options
}

// scan returns the next option and its argument, which is nil if an optional
// one is absent. At the end of the command line ok is false.
func (s *scanner) scan() (opt option, arg *string, ok bool, err error) {
	if s.cluster == "" {
		word, found := s.nextOption()
		if !found {
			return 0, nil, false, nil
		}
		if long, isLong := strings.CutPrefix(word, "--"); isLong {
			return s.long(long)
		}
		s.cluster = word[1:]
	}
	return s.short()
}

// nextOption returns the next word that begins with "-" and stores those before it in rest.
func (s *scanner) nextOption() (word string, found bool) {
	for s.next < len(s.words) {
		word := s.words[s.next]
		s.next++
		switch {
		case word == "--":
			s.rest = append(s.rest, s.words[s.next:]...)
			s.next = len(s.words)
		case len(word) > 1 && word[0] == '-':
			return word, true
		default:
			s.rest = append(s.rest, word)
		}
	}
	return "", false
}

func (s *scanner) long(text string) (option, *string, bool, error) {
	name, value, hasValue := strings.Cut(text, "=")
	for _, spec := range s.specs {
		if spec.long != name || name == "" {
			continue
		}
		if hasValue && spec.arg == none {
			return 0, nil, true, errUnwanted
		}
		if hasValue {
			return spec.id, &value, true, nil
		}
		arg, err := s.nextWord(spec.arg)
		return spec.id, arg, true, err
	}
	return 0, nil, true, errUnknown
}

func (s *scanner) short() (option, *string, bool, error) {
	letter := s.cluster[0]
	s.cluster = s.cluster[1:]
	for _, spec := range s.specs {
		if spec.short != letter || letter == 0 {
			continue
		}
		if spec.arg == none {
			if strings.HasPrefix(s.cluster, "=") {
				return 0, nil, true, errUnwanted
			}
			return spec.id, nil, true, nil
		}
		if s.cluster != "" {
			value := strings.TrimPrefix(s.cluster, "=")
			s.cluster = ""
			return spec.id, &value, true, nil
		}
		arg, err := s.nextWord(spec.arg)
		return spec.id, arg, true, err
	}
	return 0, nil, true, errUnknown
}

func (s *scanner) nextWord(arg argument) (*string, error) {
	switch {
	case arg == none:
		return nil, nil
	case s.next == len(s.words) && arg == required:
		return nil, errMissing
	case s.next == len(s.words), arg == optional && strings.HasPrefix(s.words[s.next], "-"):
		return nil, nil
	}
	s.next++
	return &s.words[s.next-1], nil
}

// current returns the last word, as popt shows it in errors: the whole cluster, not the
// letter.
func (s *scanner) current() string { return s.words[s.next-1] }
