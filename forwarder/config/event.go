package config

import "time"

// Event is something that happened to a director, as its log and the control API tell it.
type Event struct {
	// ID continues a stream after the event, as Last-Event-ID. It is unique among the events
	// of all directors of a machine, and empty for an event that only its reader gets.
	ID         string         `json:"id"`
	Time       time.Time      `json:"time"`
	Level      string         `json:"level"` // debug, info, warn or error
	Name       string         `json:"event"` // stable, see docs/events.md
	Message    string         `json:"message"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// EventsMissed is the name of the event by which a reader is told that it missed some.
const EventsMissed = "events-missed"
