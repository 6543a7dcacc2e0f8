package director

import (
	"errors"
	"testing"
)

// What a Config cannot say is refused before anything is opened, and the error
// names the field.
func TestAWrongFieldIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name, field, text string
		set               func(*Config)
	}{
		{"more workers than sockets can share an interface", "Workers", "director: Workers 257: 0 to 256", func(c *Config) { c.Workers = 257 }},
		{"fewer connections than none", "Conns", "director: Conns -1: 1 to 1073741823 (0: 4194304)", func(c *Config) { c.Conns = -1 }},
		{"ports of an unknown kind", "IO", `director: IO "pcap": ring, socket or tap:NAME`, func(c *Config) { c.IO = "pcap" }},
		{"a device without a name", "IO", `director: IO "tap:": ring, socket or tap:NAME`, func(c *Config) { c.IO = "tap:" }},
		{"a device's name that the kernel would cut", "IO", `director: IO "tap:sixteen-letters-": an interface's name has 15 bytes at most`,
			func(c *Config) { c.IO = "tap:sixteen-letters-" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			tt.set(&c)
			_, err := New(t.Context(), c)
			var field *FieldError
			if !errors.As(err, &field) || field.Field != tt.field || err.Error() != tt.text {
				t.Errorf("error %v, want %s", err, tt.text)
			}
		})
	}
}
