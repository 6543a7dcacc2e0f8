package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"net/url"

	"uvs/forwarder/config"
	"uvs/sched/sim"
)

// get reads what is at path.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var result T
	err := c.do(ctx, "GET", path, nil, &result)
	return result, err
}

// About returns who answers.
func (c *Client) About(ctx context.Context) (config.About, error) {
	return get[config.About](ctx, c, "/v1/about")
}

// Apply runs commands in order, to be seen at once, and returns an error or nil
// for each. With atomic it carries out all or none, and the list ends with the
// first error. The second result is that of the exchange as a whole.
func (c *Client) Apply(ctx context.Context, commands []config.Command, atomic bool) ([]error, error) {
	var result config.BatchResult
	if err := c.do(ctx, "POST", "/v1/batch", config.Batch{Commands: commands, Atomic: atomic}, &result); err != nil {
		return nil, err
	}
	errs := make([]error, len(result.Problems))
	for i, p := range result.Problems {
		if p != nil {
			errs[i] = p
		}
	}
	return errs, nil
}

// Services returns all services in the order they were added.
func (c *Client) Services(ctx context.Context) ([]config.ServiceState, error) {
	return get[[]config.ServiceState](ctx, c, "/v1/services")
}

// Service returns one service.
func (c *Client) Service(ctx context.Context, k config.Key) (config.ServiceState, error) {
	return get[config.ServiceState](ctx, c, servicePath(k))
}

func servicePath(k config.Key) string { return "/v1/services/" + url.PathEscape(k.Normal().Name()) }

func serverPath(k config.Key, s netip.AddrPort) string {
	return servicePath(k) + "/servers/" + url.PathEscape(s.String())
}

func localPath(k config.Key, a netip.Addr) string {
	return servicePath(k) + "/local-addresses/" + url.PathEscape(a.String())
}

// AddService adds a service.
func (c *Client) AddService(ctx context.Context, s config.Service) error {
	return c.do(ctx, "POST", "/v1/services", s, nil)
}

// EditService replaces a service's own settings.
func (c *Client) EditService(ctx context.Context, s config.Service) error {
	return c.do(ctx, "PUT", servicePath(s.Key), s, nil)
}

// DeleteService removes a service with its servers.
func (c *Client) DeleteService(ctx context.Context, k config.Key) error {
	return c.do(ctx, "DELETE", servicePath(k), nil, nil)
}

// Flush removes all services.
func (c *Client) Flush(ctx context.Context) error {
	return c.do(ctx, "DELETE", "/v1/services", nil, nil)
}

// Zero zeroes the counters of one service or, with nil, all counters.
func (c *Client) Zero(ctx context.Context, k *config.Key) error {
	if k == nil {
		return c.do(ctx, "POST", "/v1/zero", nil, nil)
	}
	return c.do(ctx, "POST", servicePath(*k)+"/zero", nil, nil)
}

// AddServer adds a real server to a service.
func (c *Client) AddServer(ctx context.Context, k config.Key, s config.Server) error {
	return c.do(ctx, "POST", servicePath(k)+"/servers", s, nil)
}

// EditServer replaces a real server's settings.
func (c *Client) EditServer(ctx context.Context, k config.Key, s config.Server) error {
	return c.do(ctx, "PUT", serverPath(k, s.AddrPort()), s, nil)
}

// DeleteServer removes a real server.
func (c *Client) DeleteServer(ctx context.Context, k config.Key, s netip.AddrPort) error {
	return c.do(ctx, "DELETE", serverPath(k, s), nil, nil)
}

// AddLocal gives a service a local address for FULLNAT.
func (c *Client) AddLocal(ctx context.Context, k config.Key, a netip.Addr) error {
	return c.do(ctx, "PUT", localPath(k, a), nil, nil)
}

// DeleteLocal takes a local address from a service.
func (c *Client) DeleteLocal(ctx context.Context, k config.Key, a netip.Addr) error {
	return c.do(ctx, "DELETE", localPath(k, a), nil, nil)
}

// SetPolicy says what becomes of connections of a service whose real server
// goes. The policy there is, is part of what Service returns.
func (c *Client) SetPolicy(ctx context.Context, k config.Key, p config.Policy) error {
	return c.do(ctx, "PUT", servicePath(k)+"/policy", p, nil)
}

// SetSynProxy switches the SYN proxy of a service on or off. Whether it is on is part of
// what Service returns.
func (c *Client) SetSynProxy(ctx context.Context, k config.Key, on bool) error {
	return c.do(ctx, "PUT", servicePath(k)+"/syn-proxy", config.SynProxy{On: on}, nil)
}

// SetVIPRole says when the director answers for a service's virtual address; config.VIPDefault
// leaves it to the director.
func (c *Client) SetVIPRole(ctx context.Context, k config.Key, role config.VIPRole) error {
	return c.do(ctx, "PUT", servicePath(k)+"/vip-role", config.VIPSetting{Role: role}, nil)
}

// VIPs returns for which services the director answers, in the order they were added.
func (c *Client) VIPs(ctx context.Context) ([]config.VIP, error) {
	return get[[]config.VIP](ctx, c, "/v1/vips")
}

// AddCheck adds a check to a service.
func (c *Client) AddCheck(ctx context.Context, k config.Key, check config.Check) error {
	return c.do(ctx, "POST", servicePath(k)+"/checks", check, nil)
}

// DeleteCheck removes the check of a service that asks the same, or with nil all of them.
func (c *Client) DeleteCheck(ctx context.Context, k config.Key, check *config.Check) error {
	if check == nil {
		return c.do(ctx, "DELETE", servicePath(k)+"/checks", nil, nil)
	}
	return c.do(ctx, "POST", servicePath(k)+"/checks/delete", check, nil)
}

// Checks returns what the checks have found about each real server.
func (c *Client) Checks(ctx context.Context) ([]config.CheckState, error) {
	return get[[]config.CheckState](ctx, c, "/v1/checks")
}

// CheckNow asks once and returns what was found.
func (c *Client) CheckNow(ctx context.Context, what config.CheckNow) (all []config.CheckState, err error) {
	return all, c.do(ctx, "POST", "/v1/checks/now", what, &all)
}

// Marks returns the rules that give packets firewall marks, in order.
func (c *Client) Marks(ctx context.Context) ([]config.MarkRule, error) {
	return get[[]config.MarkRule](ctx, c, "/v1/marks")
}

// SetMarks replaces all mark rules at once.
func (c *Client) SetMarks(ctx context.Context, rules []config.MarkRule) error {
	if rules == nil {
		rules = []config.MarkRule{}
	}
	return c.do(ctx, "PUT", "/v1/marks", rules, nil)
}

// AddMark appends a mark rule.
func (c *Client) AddMark(ctx context.Context, r config.MarkRule) error {
	return c.do(ctx, "POST", "/v1/marks", r, nil)
}

// DeleteMark removes the first rule that equals r.
func (c *Client) DeleteMark(ctx context.Context, r config.MarkRule) error {
	return c.do(ctx, "POST", "/v1/marks/delete", r, nil)
}

// Sysctls returns the settings of net.ipv4.vs, sorted by name.
func (c *Client) Sysctls(ctx context.Context) ([]config.Sysctl, error) {
	return get[[]config.Sysctl](ctx, c, "/v1/sysctl")
}

// SetSysctl changes the setting with the given name, which is without
// net.ipv4.vs.
func (c *Client) SetSysctl(ctx context.Context, name, value string) error {
	return c.do(ctx, "PUT", "/v1/sysctl/"+url.PathEscape(name), config.Sysctl{Value: value}, nil)
}

// Connections returns the connection table as it arrives, so that a large one
// needs no memory here. An error ends it.
func (c *Client) Connections(ctx context.Context) iter.Seq2[config.Connection, error] {
	return func(yield func(config.Connection, error) bool) {
		answer, err := c.send(ctx, "GET", "/v1/connections", nil)
		if err != nil {
			yield(config.Connection{}, err)
			return
		}
		defer drain(answer.Body)
		d := json.NewDecoder(answer.Body)
		if _, err := d.Token(); err != nil {
			yield(config.Connection{}, fmt.Errorf("client: read connections: %w", err))
			return
		}
		for d.More() {
			var conn config.Connection
			err := d.Decode(&conn)
			if !yield(conn, err) || err != nil {
				return
			}
		}
	}
}

// Trace records what is decided about the next n packets that the options ask for, and
// returns each as it comes. An error ends it.
func (c *Client) Trace(ctx context.Context, n int, o config.TraceOptions) iter.Seq2[config.Trace, error] {
	return func(yield func(config.Trace, error) bool) {
		path := fmt.Sprintf("/v1/trace?n=%d&neighbours=%t&frames=%t&filter=%s", n, o.Neighbours, o.Frames, url.QueryEscape(o.Filter))
		answer, err := c.send(ctx, "GET", path, nil)
		if err != nil {
			yield(config.Trace{}, err)
			return
		}
		defer answer.Body.Close() // and with it the recording
		d := json.NewDecoder(answer.Body)
		for {
			var record config.Trace
			err := d.Decode(&record)
			if errors.Is(err, io.EOF) || !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// Record yields what becomes of the connections to a service, until the context ends or
// the service is deleted. Only root and the director's user may record.
func (c *Client) Record(ctx context.Context, k config.Key) iter.Seq2[sim.Line, error] {
	return func(yield func(sim.Line, error) bool) {
		answer, err := c.send(ctx, "GET", servicePath(k)+"/recording", nil)
		if err != nil {
			yield(sim.Line{}, err)
			return
		}
		defer answer.Body.Close() // and with it the recording
		d := json.NewDecoder(answer.Body)
		for {
			var line sim.Line
			err := d.Decode(&line)
			if errors.Is(err, io.EOF) || !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// LastTrace returns the packet recorded last.
func (c *Client) LastTrace(ctx context.Context) (config.Trace, error) {
	return get[config.Trace](ctx, c, "/v1/trace/last")
}

// RecentTrace returns one of the last records by its number.
func (c *Client) RecentTrace(ctx context.Context, number uint64) (config.Trace, error) {
	return get[config.Trace](ctx, c, fmt.Sprintf("/v1/trace/%d", number))
}

// ExplainLast returns the packet recorded last with what its verdict means.
func (c *Client) ExplainLast(ctx context.Context) (config.Explanation, error) {
	return get[config.Explanation](ctx, c, "/v1/explain/last")
}

// Explain returns what would become of a packet now. Nothing is sent or changed.
func (c *Client) Explain(ctx context.Context, p config.DryPacket) (config.Explanation, error) {
	var e config.Explanation
	err := c.do(ctx, "POST", "/v1/explain", p, &e)
	return e, err
}

// Verdict returns what a verdict means.
func (c *Client) Verdict(ctx context.Context, code string) (config.Meaning, error) {
	return get[config.Meaning](ctx, c, "/v1/verdicts/"+url.PathEscape(code))
}

// Drops returns the reasons for which frames were dropped, with an example of each.
func (c *Client) Drops(ctx context.Context) ([]config.Drops, error) {
	return get[[]config.Drops](ctx, c, "/v1/drops")
}

// Summary returns the director at a glance, with decisions for those who may write.
func (c *Client) Summary(ctx context.Context, q config.SummaryQuery) (config.Summary, error) {
	path := fmt.Sprintf("/v1/summary?services=%d&first=%d&servers=%d&sort=%s&after=%d", q.Services, q.First, q.Servers, url.QueryEscape(q.Sort), q.After)
	if q.Service != nil {
		path += "&service=" + url.QueryEscape(q.Service.Normal().Name())
	}
	return get[config.Summary](ctx, c, path)
}

// Totals returns the counters over all services.
func (c *Client) Totals(ctx context.Context) (config.Stats, error) {
	return get[config.Stats](ctx, c, "/v1/totals")
}

// Counters returns the frames of each verdict by its name and the counters of
// each port.
func (c *Client) Counters(ctx context.Context) (map[string]uint64, error) {
	return get[map[string]uint64](ctx, c, "/v1/counters")
}

// Accounts returns what became of the frames of each receive queue.
func (c *Client) Accounts(ctx context.Context) ([]config.Account, error) {
	return get[[]config.Account](ctx, c, "/v1/accounts")
}

// Timeouts returns the timeouts of connections.
func (c *Client) Timeouts(ctx context.Context) (config.Timeouts, error) {
	return get[config.Timeouts](ctx, c, "/v1/timeouts")
}

// SetTimeouts changes the timeouts of connections; 0 keeps one.
func (c *Client) SetTimeouts(ctx context.Context, t config.Timeouts) error {
	return c.do(ctx, "PUT", "/v1/timeouts", t, nil)
}

// Daemons returns the synchronization daemons that run.
func (c *Client) Daemons(ctx context.Context) ([]config.Daemon, error) {
	return get[[]config.Daemon](ctx, c, "/v1/daemons")
}

// StartDaemon starts a synchronization daemon.
func (c *Client) StartDaemon(ctx context.Context, d config.Daemon) error {
	return c.do(ctx, "POST", "/v1/daemons", d, nil)
}

// StopDaemon stops a synchronization daemon.
func (c *Client) StopDaemon(ctx context.Context, state config.DaemonState) error {
	return c.do(ctx, "DELETE", "/v1/daemons/"+url.PathEscape(string(state)), nil, nil)
}
