/* A fork against retention and collection of its parent, and a fork of that fork against both.
 *
 * Branches 0 (main), 1 (a fork of it) and 2 (a fork of 1). A change of a manifest is one step here:
 * how its lost answers are read is own.pml's. What forks send may land at any later time, also after
 * they died; a Delete likewise. Objects 0 to 4 stand under main's prefix, 5 to 7 under 1's. The Python
 * function that a step stands for is named beside it. Mutations are -D switches in capitals.
 */
#ifndef ACTS
#define ACTS 4    /* what the owner of main does: ship, retain, collect */
#endif
#ifndef CHILD_ACTS
#define CHILD_ACTS 2
#endif
#define BIT(i) (1 << (i))
#define NONE 0
#define FORMING 1
#define LIVE 2
#define DELETED 3
#ifdef FORMING_DOES_NOT_COUNT
#define COUNTS(c) (state[c] == LIVE)
#else
#define COUNTS(c) (state[c] != DELETED)
#endif

byte state[3];
byte names[3];              /* the chain of each manifest, a bit for an object */
byte moved[3];              /* its version */
byte dropped[3];            /* once named by a branch that lived, and no longer */
byte exists = 3;
byte late_delete;           /* a Delete under way that nobody waits for: its object, or 0 */

/* A pending Create or Replace of a forming fork's manifest. */
typedef Put { bit busy; byte version; byte state; byte names };
Put put[3];

inline deleted(o) {
  assert(state[0] != LIVE || (names[0] & o) == 0);               /* inv: no named object is missing */
  assert(state[1] != LIVE || (names[1] & o) == 0);               /* inv: a living fork names only what exists */
  assert(state[2] != LIVE || (names[2] & o) == 0);               /* inv: a living fork names only what exists */
  exists = exists & ~o
}

inline change(c, to, what) {
  assert(((what) & dropped[c]) == 0);                              /* inv: a dropped reference never comes back */
  assert(to != LIVE || ((what) & ~exists) == 0);                   /* inv: a living fork names only what exists */
  if
  :: state[c] == LIVE -> dropped[c] = dropped[c] | (names[c] & ~(what))
  :: else
  fi;
  state[c] = to; names[c] = what; moved[c]++
}

inline arrive(c) {
  if
  :: put[c].version == moved[c] -> change(c, put[c].state, put[c].names)
  :: else
  fi;
  put[c].busy = 0; put[c].version = 0; put[c].state = 0; put[c].names = 0
}

proctype Network() {
end:
  do
  :: d_step { put[1].busy -> arrive(1) }
  :: d_step { put[2].busy -> arrive(2) }
  :: d_step { late_delete -> deleted(late_delete); late_delete = 0 }
  od
}

/* branches.fork of the parent's head. It may die anywhere: not being scheduled any more is the same. */
proctype Fork(byte parent; byte me) {
  byte chain;
  byte v;
  state[parent] == LIVE -> chain = names[parent];                /* _live, _origin */
#ifdef LOOK_BEFORE_FORMING
  d_step { state[parent] == LIVE && (chain & ~names[parent]) == 0 };
#endif
  d_step { put[me].busy = 1; put[me].state = FORMING; put[me].names = chain };  /* _form: settle_create */
  !put[me].busy;
  v = 1;
look: skip;                                                      /* _settle */
#if defined(NO_SECOND_LOOK) || defined(LOOK_BEFORE_FORMING)
  d_step { put[me].busy = 1; put[me].version = v; put[me].state = LIVE; put[me].names = chain };
  goto done;
#endif
  if
  :: state[parent] != LIVE -> goto done                          /* NotFound: forms until its name is freed */
  :: d_step {
      state[parent] == LIVE && (chain & ~names[parent]) == 0 ->  /* _still_named */
      put[me].busy = 1; put[me].version = v; put[me].state = LIVE; put[me].names = chain
    };
    goto done
  :: d_step {
      state[parent] == LIVE && (chain & ~names[parent]) != 0 ->  /* copy again, look again */
      chain = names[parent]
    };
    d_step {
      put[me].busy = 1; put[me].version = v; put[me].names = chain;
#ifdef COPY_AGAIN_AND_LIVE
      put[me].state = LIVE
#else
      put[me].state = FORMING
#endif
    };
    !put[me].busy;
#ifdef COPY_AGAIN_AND_LIVE
    goto done;
#endif
    if
    :: moved[me] == v + 1 && state[me] == FORMING -> v++; goto look
    :: else                                                      /* Fenced: its name was taken */
    fi
  fi;
done:
  skip
}

/* heads._free: somebody takes the name of a fork that has been forming for a minute. */
proctype Free(byte c) {
  byte v;
  d_step { state[c] == FORMING -> v = moved[c] };
  d_step { moved[c] == v -> change(c, DELETED, names[c]) }
}

/* The owner of a branch: ship.ship, retain.retain, collect.collect, branches.delete_branch. */
proctype Owner(byte me; byte first; byte last; byte acts) {
  byte next;   /* the next object of its prefix */
  byte cand;
  byte named;
  byte seen;   /* the branches of the list that is being read */
  byte now;
  byte b;
  next = first + (me == 0 -> 2 : 0);
  state[me] == LIVE;
work:
  if
  :: acts == 0 -> goto done
  :: d_step { acts && next <= last ->                            /* ship.ship */
      exists = exists | BIT(next); change(me, LIVE, names[me] | BIT(next)); next++; acts-- };
    goto work
  :: d_step { acts && next <= last && (names[me] & (names[me] - 1)) ->  /* retain.retain */
      exists = exists | BIT(next); change(me, LIVE, BIT(next)); next++; acts-- };
    goto work
#ifdef TAKE_BACK
  :: d_step { acts && dropped[me] & exists ->                    /* a join that is undone */
      change(me, LIVE, names[me] | (dropped[me] & exists)); acts-- };
    goto work
#endif
  :: d_step { acts && me == 1 -> change(me, DELETED, names[me]); acts = 0 };  /* branches.delete_branch */
    goto done
  :: d_step {                                                    /* collect.collect: the candidates */
      acts && (exists & ~names[me] & (me == 0 -> 31 : 224)) ->
      cand = exists & ~names[me] & (me == 0 -> 31 : 224); acts-- }
  fi;
#ifndef OWN_MANIFEST_ONLY
  /* _manifests: pages in the order of the keys; main's is always there */
  if :: state[1] != NONE -> seen = 2 :: state[1] == NONE fi;
  if :: state[2] != NONE -> seen = seen | 4 :: state[2] == NONE fi;
again:
  named = names[0];
  if
  :: (seen & 2) && COUNTS(1) -> named = named | names[1]
  :: !((seen & 2) && COUNTS(1))
  fi;
  if
  :: (seen & 4) && COUNTS(2) -> named = named | names[2]
  :: !((seen & 4) && COUNTS(2))
  fi;
#ifndef ONE_LIST
  if :: state[1] != NONE -> now = 2 :: state[1] == NONE -> now = 0 fi;
  if :: state[2] != NONE -> now = now | 4 :: state[2] == NONE fi;
  if
  :: now != seen -> seen = now; now = 0; goto again
  :: now == seen
  fi;
#endif
#endif
  d_step { cand = cand & ~named; named = 0; seen = 0; now = 0 };
sweep:
  if
  :: cand == 0 -> goto work
  :: cand != 0 ->
    d_step { b = cand & ~(cand - 1); cand = cand & ~b };
    if
    :: d_step { true -> deleted(b); b = 0 }
    :: d_step { late_delete == 0 -> late_delete = b; b = 0 }     /* in doubt: lands later */
    fi;
    goto sweep
  fi;
done:
  skip
}

init {
  atomic {
    state[0] = LIVE; names[0] = 3; moved[0] = 1;
    run Network();
    run Owner(0, 0, 4, ACTS);
    run Owner(1, 5, 7, CHILD_ACTS);
    run Fork(0, 1);
    run Fork(1, 2);
    run Free(1)
  }
}
