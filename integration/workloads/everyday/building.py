"""make and gcc: what is built, what is rebuilt, and that it runs from where it was built."""

from __future__ import annotations

from integration.workloads.everyday.chore import Chore

MAKE = """
cat >Makefile <<'END'
SOURCES := $(wildcard *.in)
all: $(SOURCES:.in=.out) total
%.out: %.in ; @echo making $@; tr a-z A-Z <$< >$@
total: $(SOURCES:.in=.out) ; @echo making $@; cat $(sort $^) >$@
.PHONY: all
END
for n in $(seq 12); do echo "text $n" >part$n.in; done
make -s -j4 | sort; make -q && echo nothing to rebuild
touch part7.in; make -s; make -q && echo nothing to rebuild
echo changed >part3.in; make -s; touch -d '1 hour ago' part5.in; make -q && echo nothing to rebuild
touch -r part3.in stamp; test part3.in -nt stamp || test stamp -nt part3.in || echo the same time
rm part9.out; make -s; make -q && echo nothing to rebuild
"""

COMPILE = """
cat >lib.h <<'END'
int twice(int);
END
cat >lib.c <<'END'
#include "lib.h"
int twice(int n) { return 2 * n; }
END
cat >main.c <<'END'
#include <stdio.h>
#include "lib.h"
int main(void) { printf("%d\\n", twice(21)); return 0; }
END
cat >Makefile <<'END'
CFLAGS := -O1 -g0 -MMD -ffile-prefix-map=$(CURDIR)=.
all: static shared
%.pic.o: %.c ; $(CC) $(CFLAGS) -fPIC -c $< -o $@
liblab.a: lib.o ; $(AR) rcD $@ $^
liblab.so: lib.pic.o ; $(CC) -shared -o $@ $^
static: main.o liblab.a ; $(CC) -o $@ $^
shared: main.o liblab.so ; $(CC) -o $@ main.o -L. -llab -Wl,-rpath,'$$ORIGIN'
-include *.d
END
make -s; ./static; ./shared; make -q && echo nothing to rebuild
sed -i 's/2 \\* n/3 * n/' lib.c; make -s; ./static; ./shared; touch lib.h; make -q || echo to rebuild; make -s
strip static; ./static; cp static running; chmod 755 running
cat >sleeper.c <<'END'
#include <unistd.h>
int main(void) { char c; return write(1, "runs\\n", 5) != 5 || read(0, &c, 1) == 1; }
END
gcc -O1 sleeper.c -o sleeper; mkfifo hold told; ./sleeper <hold >told & exec 3>hold; read line <told; echo it $line
echo x 2>/dev/null >sleeper || echo a running program is not written
gcc -O1 -DNEW sleeper.c -o new && mv new sleeper && echo but it is replaced; exec 3>&-; wait; rm hold told
"""

CHORES = (Chore("make", MAKE), Chore("gcc", COMPILE))
