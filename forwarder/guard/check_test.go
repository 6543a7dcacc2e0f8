package guard

import (
	"testing"

	"github.com/google/nftables"
)

func TestNobodyElseCanChangeTheTable(t *testing.T) {
	client, host, _ := lan(t)
	g := newGuard(t, host)
	set(host, g, Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.2:80")}})
	host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset() // `nft flush ruleset`, as a firewall does it when it starts
		if err := c.Flush(); err != nil {
			return err
		}
		c.DelTable(&nftables.Table{Name: tableNames[0], Family: nftables.TableFamilyNetdev})
		if c.Flush() == nil {
			t.Error("another process can remove the table")
		}
		return nil
	})
	expect(t, client, "10.0.0.2:80", "silent", "the service is guarded still")
	if err := g.Check(); err != nil {
		t.Error(err)
	}
}

func TestATableThatIsGoneIsNoticedAndMadeAnew(t *testing.T) {
	client, host, _ := lan(t)
	g := newGuard(t, host)
	r := Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.2:80")}}
	set(host, g, r)
	if err := g.Check(); err != nil {
		t.Error(err)
	}
	g.conn.DelTable(g.table) // only its owner can
	if err := g.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	expect(t, client, "10.0.0.2:80", "refused", "nothing is guarded")
	for range 2 {
		if err := g.Check(); err != ErrLost {
			t.Errorf("Check = %v, want ErrLost", err)
		}
	}
	set(host, g, r)
	expect(t, client, "10.0.0.2:80", "silent", "the service is guarded again")
	if err := g.Check(); err != nil {
		t.Error(err)
	}
}
