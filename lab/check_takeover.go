package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"uvs/internal/lang"
)

// takeover fails the node of the active director, then that of the other, and brings each
// back, so that in the end the same one is active as in the beginning. The other has to answer
// for the virtual address each time, and a connection to live through it all.
func (r *checkRun) takeover() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("the other director takes over, and a connection lives on", "另一台调度器接管，已有连接不中断")
	if !r.lab.Topology.Paired() {
		return false, lang.Textf("there is one director only", "只有一台调度器"), expected
	}
	who, err := r.lab.awaitActive(active, standby)
	if err != nil {
		return false, plain(err.Error()), expected
	}
	c, err := r.hold()
	if err != nil {
		return false, r.failure(err), expected
	}
	defer c.Close()
	for _, fails := range []string{who, other(who)} {
		if seen := r.failOver(c, fails); seen != nil {
			return false, *seen, expected
		}
	}
	return true, lang.Textf("%s took over from %s, and gave back; the connection lived on", "%s 接管了 %s，之后又交还；连接没有中断", other(who), who), expected
}

// held is a connection that is asked for a page again and again.
type held struct {
	net.Conn
	in   *bufio.Reader
	page string
}

func (r *checkRun) hold() (*held, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.Within)
	defer cancel()
	vip, err := r.target()
	if err != nil {
		return nil, err
	}
	conn, err := r.lab.Dial(ctx, r.From, "tcp", vip.String())
	if err != nil {
		return nil, err
	}
	c := &held{Conn: conn, in: bufio.NewReader(conn)}
	if c.page, err = c.ask(r.Get); err != nil {
		conn.Close()
	}
	return c, err
}

func (c *held) ask(url string) (string, error) {
	_ = c.SetDeadline(time.Now().Add(answerWithin))
	return askOn(c.Conn, c.in, url)
}

// failOver fails a director's node, asks on the connection and brings the node back. It
// returns what was seen if that is not as it should be.
func (r *checkRun) failOver(c *held, fails string) (seen *lang.Text) {
	wrong := func(err error) *lang.Text {
		t := plain(err.Error())
		return &t
	}
	known := &drill{lab: r.lab, conns: 1, active: fails}
	if err := known.awaitSync(); err != nil {
		return wrong(err)
	}
	if err := r.lab.Fail(fails); err != nil {
		return wrong(err)
	}
	defer func() {
		if err := r.lab.Return(fails); err != nil && seen == nil {
			seen = wrong(err)
		}
	}()
	if _, err := r.lab.awaitActive(other(fails)); err != nil {
		return wrong(err)
	}
	page, err := c.ask(r.Get)
	if err == nil && page != c.page {
		err = fmt.Errorf("the connection was with %q and is with %q", c.page, page)
	}
	if err != nil {
		t := lang.Textf("after %s failed: ", "%s 故障后：", fails)
		f := r.failure(err)
		return &lang.Text{EN: t.EN + f.EN, ZH: t.ZH + f.ZH}
	}
	return nil
}
