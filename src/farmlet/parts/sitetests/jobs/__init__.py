"""What goes to a site and comes back: the job, the way to the site's queue, the program that runs the tests there."""
