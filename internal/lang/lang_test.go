package lang

import "testing"

func TestTheFlagDecidesAndThenTheLocale(t *testing.T) {
	for _, c := range []struct {
		name, flag string
		env        map[string]string
		want       Tag
		wrong      bool
	}{
		{name: "nothing is set", want: EN},
		{name: "the flag", flag: "zh", want: ZH},
		{name: "the flag beats the locale", flag: "en", env: map[string]string{"LANG": "zh_CN.UTF-8"}, want: EN},
		{name: "a flag like a locale", flag: "zh_CN.UTF-8", want: ZH},
		{name: "a flag like a language tag", flag: "zh-Hans-CN", want: ZH},
		{name: "capitals", flag: "ZH", want: ZH},
		{name: "another language", flag: "de", want: EN, wrong: true},
		{name: "LANG", env: map[string]string{"LANG": "zh_CN.UTF-8"}, want: ZH},
		{name: "LC_MESSAGES before LANG", env: map[string]string{"LC_MESSAGES": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, want: EN},
		{name: "LC_ALL before both", env: map[string]string{"LC_ALL": "zh_TW", "LC_MESSAGES": "C", "LANG": "en_US"}, want: ZH},
		{name: "an empty variable does not count", env: map[string]string{"LC_ALL": "", "LANG": "zh_CN"}, want: ZH},
		{name: "C", env: map[string]string{"LC_ALL": "C.UTF-8", "LANG": "zh_CN"}, want: EN},
		{name: "a language that is not there", env: map[string]string{"LANG": "de_DE.UTF-8"}, want: EN},
		{name: "one that only begins like Chinese", env: map[string]string{"LANG": "zha_CN"}, want: EN},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Of(c.flag, func(name string) string { return c.env[name] })
			if got != c.want || (err != nil) != c.wrong {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestATextIsReadInItsLanguage(t *testing.T) {
	x := Textf("%[1]s has %[2]d", "%[2]d 在 %[1]s", "rs1", 3)
	if x.In(EN) != "rs1 has 3" || x.In(ZH) != "3 在 rs1" || !x.Complete() {
		t.Errorf("%+v", x)
	}
	if (Text{EN: "only"}).Complete() {
		t.Error("a text without Chinese is complete")
	}
}
