"""The tormentor: a real service under the load of many users while everything that can go wrong does, again and again.

``bin/soak MINUTES [--seed N]`` runs it; the claim ``storm`` and a short test run the same thing. The parts:

work       what is submitted: kinds of tasks, and what must become of each
doors      the clients, one for each API and the command line
journal    what the service has said yes to, and what was done to it, in memory and in a file
users      submit, and look
steering   kill, pause, resume, raise, run again, through every API that has a word for it
torments   kill -9, SIGSTOP, full disks, cut lines, jumps of the clock
judge      at the end: what is lost, doubled, left over, or told differently by different APIs
storm      all of it together
"""
