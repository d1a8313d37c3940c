"""`python -m rl` is the command `rhythm`, as scripts and launchers start it."""

from rl.cli import main
from rl.processes.spawn import end_with_parent

end_with_parent()
main()
