"""What Farmlet's programs on nodes share. Standard library only, except `tokens`, which needs joserfc."""
