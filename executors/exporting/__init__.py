"""The parts of a daggen: its scratch files, the nodes of folders, the CAR of them."""
