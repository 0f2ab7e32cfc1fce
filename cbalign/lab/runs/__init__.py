"""What run directories tell, without a server: finding, describing, comparing and removing them."""
