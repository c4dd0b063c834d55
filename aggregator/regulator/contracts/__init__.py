"""The regulator and contracts: they are shown, disputed ones are arbitrated, participants are frozen."""
