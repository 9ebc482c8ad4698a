"""Which cases of the Autobahn suite there are, and which of the slow ones belong to every run.

The 216 cases of compression send a thousand messages each: 12 groups (12.1 to 12.5 are five kinds of data, 13.1 to 13.7
seven ways of agreeing on the extension) times 18 sizes, from 16 bytes whole to 131 072 bytes in frames of 256. All of them
take longer than the rest of the suite together, so an ordinary run takes 84: 7 sizes of each group, spread evenly over the
18, and shifted from group to group so that over the groups each size is there four or five times. `run.sh … --all` takes
all 216.
"""

# Cases by their first two numbers, of autobahntestsuite 25.10.1.
SIZES = 18
GROUPS = [f"12.{n}" for n in range(1, 6)] + [f"13.{n}" for n in range(1, 8)]
CHOSEN_SIZES = 7
# By as much as sizes are spread: neighbouring groups choose neighbouring sizes, and in twelve groups all get their turn.
SHIFT = 7
# Parts that run beside one another: mostly the suite waits in its cases rather than computes.
PLAIN_PARTS = ["1.* 2.* 3.* 4.* 5.* 7.* 10.*", "6.*", "9.*"]


def chosen(group, size):
    """Whether a run takes this size (1 to 18) of the group with this index (0 to 11)."""
    return (CHOSEN_SIZES * (size - 1) + SHIFT * group) % SIZES < CHOSEN_SIZES


def compression(everything):
    """The cases of 12.* and 13.* of a run."""
    return [
        f"{name}.{size}"
        for group, name in enumerate(GROUPS)
        for size in range(1, SIZES + 1)
        if everything or chosen(group, size)
    ]


def parts(everything):
    """The lists of cases that run beside one another. Every second case, so that both halves cost the same."""
    slow = compression(everything)
    return PLAIN_PARTS + [" ".join(slow[0::2]), " ".join(slow[1::2])]
