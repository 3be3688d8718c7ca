"""Speed and memory of the whole stack, measured from outside; `make bench` prints them."""
