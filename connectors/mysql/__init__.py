"""Tables and views of MySQL and MariaDB as a source."""
