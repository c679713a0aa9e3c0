"""What figures and tables of one subject share: frames computed from stored runs."""
