"""`python -m deployer.sandbox`: the group without the rest of the command line."""

from deployer.sandbox.command import group

if __name__ == "__main__":
    group(prog_name="python -m deployer.sandbox")
