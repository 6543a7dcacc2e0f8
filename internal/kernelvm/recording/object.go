package recording

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// object is a JSON object that keeps the order of its members, and those that nobody here
// knows: a line whose answers stay the same stays the same.
type object []member

type member struct {
	key   string
	value json.RawMessage
}

// UnmarshalJSON reads an object.
func (o *object) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("recording: not an object: %.40s", b)
	}
	*o = nil
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		*o = append(*o, member{key.(string), value})
	}
	return nil
}

// MarshalJSON writes an object.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, m := range o {
		b.WriteByte("{,"[min(i, 1)])
		b.Write(must(json.Marshal(m.key)))
		b.WriteByte(':')
		b.Write(m.value)
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// has reports whether there is a member.
func (o object) has(key string) bool {
	for _, m := range o {
		if m.key == key {
			return true
		}
	}
	return false
}

// get reads a member into v, which stays as it is if there is none.
func (o object) get(key string, v any) error {
	for _, m := range o {
		if m.key == key {
			if err := json.Unmarshal(m.value, v); err != nil {
				return fmt.Errorf("recording: %s: %w", key, err)
			}
		}
	}
	return nil
}

// set replaces a member, or appends it.
func (o *object) set(key string, v any) {
	value := must(marshal(v))
	for i := range *o {
		if (*o)[i].key == key {
			(*o)[i].value = value
			return
		}
	}
	*o = append(*o, member{key, value})
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// must returns b: what is given to marshal here always can be.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
