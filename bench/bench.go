// Package bench measures layer-4 forwarding on one machine and says how far
// its own numbers can be trusted.
//
// A run builds a lab: a client that sends, a server that counts, and between
// them one lane for each target that is compared. All targets stand ready at
// the same time, in nodes of their own, and take turns in ABBA order, so that
// what the machine does besides meets all of them alike.
//
//	         ┌── director (dr, nat, tun, fullnat) ──┐
//	client ──┼── null forwarder ────────────────────┼── server
//	         └── kernel route, nftables, HAProxy … ─┘
//
// Each process that forwards is measured by its own CPU clock, over the window in
// which frames are counted (docs/benchmarking.md says how each number is made).
//
// Run takes Parts, each a Measure with its Options, and makes one Report. Every
// measure has a file of its own: the steps that each target takes in a round, and the
// results that are embedded in Report, of which rows, tables, plots and comparable
// series are made. All trials are kept as they were measured.
//
// Package load sends and receives what is measured, package report makes the report.
//
// Imports: bench stands on lab, load and report; nothing imports it but cmd.
package bench
