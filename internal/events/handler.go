package events

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"uvs/forwarder/config"
)

// attribute is the name of the attribute that makes a log record an event.
const attribute = "event"

// Handler returns a handler that hands all records to next, and remembers events. It
// remembers those that next does not want as well, from slog.LevelInfo on.
func (r *Ring) Handler(next slog.Handler) slog.Handler { return &handler{next: next, ring: r} }

type handler struct {
	next  slog.Handler
	ring  *Ring
	with  []slog.Attr // of WithAttrs, with their groups in their keys
	group string      // prefix of keys, "" or with a dot at its end
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.next.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	h.remember(&record)
	if !h.next.Enabled(ctx, record.Level) {
		return nil
	}
	return h.next.Handle(ctx, record)
}

func (h *handler) remember(record *slog.Record) {
	e := config.Event{
		Time: record.Time.UTC(), Level: strings.ToLower(record.Level.String()), Message: record.Message,
		Attributes: map[string]any{},
	}
	note := func(a slog.Attr) bool {
		if a.Key == attribute {
			e.Name = a.Value.String()
		} else if a.Key != "" {
			e.Attributes[a.Key] = plain(a.Value)
		}
		return true
	}
	for _, a := range h.with {
		note(a)
	}
	record.Attrs(func(a slog.Attr) bool {
		a.Key = h.group + a.Key
		return note(a)
	})
	if e.Name != "" {
		h.ring.add(e)
	}
}

// plain returns a value that JSON can show: numbers, truths and texts as they are, all else
// as the log shows it.
func plain(v slog.Value) any {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindString:
		return v.Any()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindGroup:
		group := map[string]any{}
		for _, a := range v.Group() {
			group[a.Key] = plain(a.Value)
		}
		return group
	}
	return fmt.Sprint(v.Any())
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(attrs)
	c.with = append([]slog.Attr{}, h.with...)
	for _, a := range attrs {
		a.Key = h.group + a.Key
		c.with = append(c.with, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.next = h.next.WithGroup(name)
	if name != "" {
		c.group = h.group + name + "."
	}
	return &c
}
