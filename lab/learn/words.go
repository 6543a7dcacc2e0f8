package learn

import "uvs/internal/lang"

// What the engine says itself.
var (
	goalText  = lang.Text{EN: "Goal: %s", ZH: "目标：%s"}
	stepHead  = lang.Text{EN: "Step %d of %d: %s", ZH: "第 %d 步，共 %d 步：%s"}
	continued = lang.Text{
		EN: "You continue at step %d. The lab has been brought to where you were.",
		ZH: "从第 %d 步继续。实验环境已恢复到你上次所在的步骤。",
	}
	howTo = lang.Text{
		EN: "Type here: each line runs in the node of the prompt. \"client# LINE\" or \"client LINE\" runs one in another node, \"client\" alone moves the prompt there. Or work in another terminal (uvs lab shell --lab %s director), and press Enter here to have it checked. Other words: check, hint, show, skip, again, step, shell, help, quit.",
		ZH: "直接在这里输入命令，每一行都在提示符所示的节点上执行。“client# 命令”或“client 命令”在另一个节点上执行，只输入“client”则切换到该节点。也可以在另一个终端里操作（uvs lab shell --lab %s director），回到这里按回车检查。其他可用的词：check、hint、show、skip、again、step、shell、help、quit。",
	}
	helpText = lang.Text{
		EN: `Enter or check  look whether the step is done, and say what is missing
hint            a hint
show            what to type
skip            go on; the lab is brought to the next step
again           begin this step again in a new lab
step            the step once more
answer WORDS    answer the step's question
shell           a shell in the node of the prompt
NODE            type in another node: client, director, rs1 …
NODE LINE       run one line there
quit            leave; the next time you continue here`,
		ZH: `回车 或 check    检查本步骤是否完成，并说明还缺什么
hint            给出提示
show            显示要输入的命令
skip            跳过；实验环境会进入下一步的状态
again           用新的实验环境重做本步骤
step            再显示一次本步骤
answer 回答     回答本步骤的问题
shell           在当前节点上打开一个 shell
节点名          切换到另一个节点：client、director、rs1 等
节点名 命令     在那个节点上执行一条命令
quit            离开；下次从这里继续`,
	}
	notYet       = lang.Text{EN: "not yet: %s; wanted: %s", ZH: "还没完成：%s；要求：%s"}
	sawWanted    = lang.Text{EN: "  seen:   %s\n  wanted: %s", ZH: "  看到：%s\n  要求：%s"}
	questionText = lang.Text{EN: "Question: %s (type: answer ...)", ZH: "问题：%s（输入：answer 你的回答）"}
	noQuestion   = lang.Text{EN: "this step asks nothing", ZH: "本步骤没有提问"}
	noShell      = lang.Text{EN: "a shell needs a terminal; type the lines here", ZH: "打开 shell 需要终端；请直接在这里输入命令"}
	hintFrom     = lang.Text{EN: "Still wanted: %s", ZH: "还需要：%s"}
	hintShow     = lang.Text{EN: "show prints what to type.", ZH: "输入 show 可以看到要输入的命令。"}
	labLost      = lang.Text{
		EN: "The lab has ended. A new one is brought to this step.",
		ZH: "实验环境已经结束。正在新建一个，并恢复到本步骤。",
	}
	notKept = lang.Text{
		EN: "What is done cannot be kept: %v",
		ZH: "无法保存进度：%v",
	}
	leaving = lang.Text{
		EN: "%d of %d steps are done, and the lab is down. uvs learn %s continues here.",
		ZH: "已完成 %d 步，共 %d 步；实验环境已关闭。下次用 uvs learn %s 从这里继续。",
	}
	leavingForGood = lang.Text{
		EN: "%d of %d steps are done, and the lab is down. They are not kept: uvs learn %s begins with the first step.",
		ZH: "已完成 %d 步，共 %d 步；实验环境已关闭。进度没有保存：下次 uvs learn %s 从第一步开始。",
	}
	finished = lang.Text{
		EN: "\nThat was the last of %d steps. The lab is down.",
		ZH: "\n全部 %d 步都已完成。实验环境已关闭。",
	}
	nextLesson     = lang.Text{EN: "The next lesson: uvs learn %s", ZH: "下一课：uvs learn %s"}
	finishedBefore = lang.Text{
		EN: "All steps of %[1]s are done. To take it again: uvs learn %[1]s --reset, then uvs learn %[1]s",
		ZH: "课程 %[1]s 已全部完成。要重学，先执行 uvs learn %[1]s --reset，再执行 uvs learn %[1]s",
	}
	doneByEngine = lang.Text{
		EN: "\nAll %d steps were typed and checked.",
		ZH: "\n%d 个步骤都已输入并通过检查。",
	}
)
