package main

import "testing"

func TestAFigureHasFourDigitsAtMostAndAUnit(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 9999: "9999", 10_000: "10.0k", 123_456: "123k", 999_499: "999k", 999_500: "1.00M",
		1_500_000: "1.50M", 99_949_999: "99.9M", 99_950_000: "100M", 12_345_678_901: "12.3G", 1<<64 - 1: "18.4E",
	} {
		if got := short(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
