package main

// firstScreen is what uvs says when it is called with nothing to do.
const firstScreen = `uvs: a Linux Virtual Server director in user space

Try this first. It needs no root and leaves nothing behind:

  uvs lab run nat             a client, a director and two web servers, with real requests

Take a lesson in it, in English or Chinese:

  uvs learn

Or build a lab that stays, and type the rules yourself:

  uvs lab up nat --bare
  uvs lab shell director      here ipvsadm, ip and sysctl work
  uvs lab down

Or run a director on this machine, as root:

  uvs link /usr/local/sbin    makes the commands ipvsadm, ipvsadm-save and ipvsadm-restore
  uvs director                serves until Ctrl-C

All commands:

  to try and learn            learn, lab, sched
  to run a director           director, ipvsadm, link, shim, apply, sysctl
  for more than ipvsadm says  mark, policy, synproxy, check, vip
  to see what it does         services, top, stats, drops, events, alive, trace, explain, doctor, web, proc, version
  to measure                  bench
  for the nodes of a lab      get, http, ping, decap

uvs --help says what each of them does, uvs COMMAND --help explains one.
`
