"""What writes a turn: the border (`base`) and the kinds of backend behind it."""
