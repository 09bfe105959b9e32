"""The direct path of proven media: a program in the kernel that forwards it by itself."""
