"""Stage 02: the token loop. One forward pass gives one token; a text is that, again and again."""
