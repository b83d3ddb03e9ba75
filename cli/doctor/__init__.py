"""What `pullsync doctor` finds, and what to do about it.

`looking` gathers facts and judges nothing; `rules` are pure functions from facts to findings; `showing` writes them.
"""
