package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNumbersOfConnectionsAreReadAndSorted(t *testing.T) {
	tests := []struct {
		words []string
		want  []int // nil: refused
	}{
		{[]string{"1M", "10k", "512"}, []int{512, 10_000, 1_000_000}},
		{[]string{"10M"}, []int{10_000_000}},
		{[]string{"11M"}, nil},
		{[]string{"k"}, nil},
		{[]string{"-5"}, nil},
		{[]string{"many"}, nil},
		{[]string{"1kM"}, nil},
	}
	for _, test := range tests {
		got, err := counts(test.words)
		if (err != nil) != (test.want == nil) || err == nil && !cmp.Equal(test.want, got) {
			t.Errorf("%v: %v, %v; want %v", test.words, got, err, test.want)
		}
	}
	if got, err := counts([]string{""}); len(got) != 0 || err != nil {
		t.Errorf("no number: %v, %v; want none", got, err)
	}
}

func TestWeightsAreListsOfPositiveNumbers(t *testing.T) {
	got, err := weightLists([]string{"4,3, 2", "1"})
	if want := [][]int32{{4, 3, 2}, {1}}; err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "1,,2", "0,1", "-1", "65536", "a"} {
		if got, err := weightLists([]string{bad}); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func TestOtherDefaultsGiveWayToTheUsersWords(t *testing.T) {
	cmd := benchConnsCmd()
	if err := cmd.ParseFlags([]string{"--mode", "dr", "--rounds", "2"}); err != nil {
		t.Fatal(err)
	}
	modes, err := cmd.Flags().GetStringSlice("mode")
	if err != nil || !cmp.Equal([]string{"dr"}, modes) {
		t.Errorf("--mode dr gives %v (%v)", modes, err)
	}
	if got := cmd.Flags().Lookup("mode").DefValue; got != "[null,dr,nat,fullnat,nft]" {
		t.Errorf("default in the help: %s", got)
	}
}
