"""Which cases of the Autobahn suite there are, and which of the slow ones belong to every run.

The 216 cases of compression send a thousand messages each: 12 groups (12.1 to 12.5 are five kinds of data, 13.1 to 13.7
seven ways of agreeing on the extension) times 18 sizes, from 16 bytes whole to 131 072 bytes in frames of 256. All of them
take longer than the rest of the suite together, so an ordinary run takes 84: 7 sizes of each group, spread evenly over the
18, and shifted from group to group so that over the groups each size has its turn. Where a thousand messages of 131 072 bytes
are of a kind that hardly shrinks, 20 s each, the largest smaller size that is not there yet stands in: that data is seen in
smaller messages, and that size with other data. `run.sh … --all` takes all 216.
"""

# Cases by their first two numbers, of autobahntestsuite 25.10.1.
SIZES = 18
GROUPS = [f"12.{n}" for n in range(1, 6)] + [f"13.{n}" for n in range(1, 8)]
CHOSEN_SIZES = 7
# By as much as sizes are spread: neighbouring groups choose neighbouring sizes, and in twelve groups all get their turn.
SHIFT = 7
# Parts that run beside one another: mostly the suite waits in its cases rather than computes.
# Data that hardly shrinks, and the sizes of 131 072 bytes: together a third of the time of all that are chosen.
STUBBORN = {"12.2", "12.3", "12.5"}
LARGEST = {10, 15, 16, 17, 18}
PLAIN_PARTS = ["1.* 2.* 3.* 4.* 5.* 7.* 10.*", "6.*", "9.*"]


def chosen(group):
    """The sizes (1 to 18) that a run takes of the group with this index (0 to 11)."""
    sizes = {size for size in range(1, SIZES + 1) if (CHOSEN_SIZES * (size - 1) + SHIFT * group) % SIZES < CHOSEN_SIZES}
    if GROUPS[group] in STUBBORN:
        spare = [size for size in range(SIZES, 0, -1) if size not in sizes | LARGEST]
        sizes = sizes - LARGEST | set(spare[: len(sizes & LARGEST)])
    return sorted(sizes)


def compression(everything):
    """The cases of 12.* and 13.* of a run."""
    return [
        f"{name}.{size}"
        for group, name in enumerate(GROUPS)
        for size in (range(1, SIZES + 1) if everything else chosen(group))
    ]


def parts(everything):
    """The lists of cases that run beside one another. Every second case, so that both halves cost the same."""
    slow = compression(everything)
    return PLAIN_PARTS + [" ".join(slow[0::2]), " ".join(slow[1::2])]
