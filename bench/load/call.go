package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Calls of a tester, over one connection: each request and each answer is a header and a value,
// by JSON. Package net/rpc does the same, but finds methods by reflection, for which the linker
// would keep every exported method of the whole program.

// request is the header of a call.
type request struct {
	Number uint64
	Name   string
}

// answer is the header of what a call returns: a value follows only if Error is empty.
type answer struct {
	Number uint64
	Error  string
}

// call reads an argument, and returns what is to be done with it. That returns the reply.
type call func(*json.Decoder) (do func() (reply any, err error), err error)

// calls are the calls of a tester, by name.
func (t *Tester) calls() map[string]call {
	return map[string]call{
		"UDP": callOf(t.UDP), "Route": callOf(t.Route), "File": callOf(t.File), "Resident": callOf(t.Resident),
		"Sysctl": callOf(t.Sysctl), "Reach": callOf(t.Reach), "MAC": callOf(t.MAC), "Follow": callOf(t.Follow),
		"Picks": callOf(t.Picks), "Hold": callOf(t.Hold), "Elapsed": callOf(t.Elapsed), "Release": callOf(t.Release),
		"TCP": callOf(t.TCP), "StartTCP": callOf(t.StartTCP), "WindowTCP": callOf(t.WindowTCP), "EndTCP": callOf(t.EndTCP),
	}
}

// callOf makes a call of a method.
func callOf[Arg, Reply any](method func(Arg, *Reply) error) call {
	return func(in *json.Decoder) (func() (any, error), error) {
		var arg Arg
		if err := in.Decode(&arg); err != nil {
			return nil, err
		}
		return func() (any, error) {
			reply := new(Reply)
			return reply, method(arg, reply)
		}, nil
	}
}

// serve answers calls, each in a goroutine of its own, until the connection is closed and all
// have ended.
func serve(conn io.ReadWriter, calls map[string]call) error {
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	var sending sync.Mutex
	var under sync.WaitGroup
	defer under.Wait()
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("bench: %w", err)
		}
		c, ok := calls[r.Name]
		if !ok {
			return fmt.Errorf("bench: there is no call %q", r.Name)
		}
		do, err := c(in)
		if err != nil {
			return fmt.Errorf("bench: argument of %s: %w", r.Name, err)
		}
		under.Go(func() {
			reply, err := do()
			sending.Lock()
			defer sending.Unlock()
			if err != nil {
				_ = out.Encode(answer{r.Number, err.Error()})
				return
			}
			_ = errors.Join(out.Encode(answer{Number: r.Number}), out.Encode(reply)) // the caller sees the connection end
		})
	}
}

// Caller calls a tester. It is safe for concurrent use.
type Caller struct {
	conn io.ReadWriteCloser

	mu      sync.Mutex
	out     *json.Encoder
	number  uint64
	pending map[uint64]*pending
	ended   error // no answers come any more
}

// pending is a call that has no answer yet.
type pending struct {
	reply any
	done  chan error
}

// NewCaller returns a caller of the tester at the other end of conn.
func NewCaller(conn io.ReadWriteCloser) *Caller {
	c := &Caller{conn: conn, out: json.NewEncoder(conn), pending: map[uint64]*pending{}}
	go c.receive()
	return c
}

// Call calls a method of the tester and waits for the reply.
func (c *Caller) Call(name string, arg, reply any) error { return <-c.Go(name, arg, reply) }

// Go calls a method of the tester. The channel gets the error or nil when the reply is there.
func (c *Caller) Go(name string, arg, reply any) <-chan error {
	p := &pending{reply, make(chan error, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		p.done <- c.ended
		return p.done
	}
	c.number++
	c.pending[c.number] = p
	if err := errors.Join(c.out.Encode(request{c.number, name}), c.out.Encode(arg)); err != nil {
		delete(c.pending, c.number)
		p.done <- fmt.Errorf("bench: call %s: %w", name, err)
	}
	return p.done
}

// receive hands out the answers until the connection ends.
func (c *Caller) receive() {
	in := json.NewDecoder(c.conn)
	for {
		err := c.receiveOne(in)
		if err == nil {
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = fmt.Errorf("bench: the tester has ended: %w", err)
		for _, p := range c.pending {
			p.done <- c.ended
		}
		return
	}
}

func (c *Caller) receiveOne(in *json.Decoder) error {
	var a answer
	if err := in.Decode(&a); err != nil {
		return err
	}
	c.mu.Lock()
	p := c.pending[a.Number]
	delete(c.pending, a.Number)
	c.mu.Unlock()
	switch {
	case p == nil:
		return fmt.Errorf("an answer to call %d, which there is not", a.Number)
	case a.Error != "":
		p.done <- errors.New(a.Error)
		return nil
	}
	err := in.Decode(p.reply)
	p.done <- err
	return err
}

// Close ends the connection, and with it the tester.
func (c *Caller) Close() error { return c.conn.Close() }
