"""Part `sitetests`: small jobs at the sites that tell whether members' jobs would do well there."""

PACKAGE = "farmlet.parts.sitetests"
