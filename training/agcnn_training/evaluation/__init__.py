"""What a network says of films, how good that is, and how sure."""
