"""What a user would pick instead, as he would write it: each is a program of its own, and shares no code with us."""
