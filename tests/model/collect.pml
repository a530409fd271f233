/* Collection by owners that may be stale: ship, retain, collect, fork; late Creates, Deletes, CASes.
 *
 * One branch, two nodes that take it TAKES times in all, and one fork of it. Objects are numbered in
 * the order in which they were begun; OBJECTS bounds them. At most one Create, one Delete and one
 * change of the manifest are under way that nobody waits for. The Python function that a step stands for is
 * named beside it. Mutations are -D switches in capitals; tests/model/check.py lists them.
 */
#ifndef TAKES
#define TAKES 3   /* owners in all */
#endif
#ifndef OBJECTS
#define OBJECTS 3 /* segments ever begun, those that joins make included */
#endif
#define BIT(i) (1 << (i))
#define NONE 0
#define FORMING 1
#define LIVE 2

/* records.Manifest: `nonce` is the version too, `names` the segments of the chain, a bit each. */
typedef Man { byte nonce; byte epoch; byte names };

Man store;
Man fly;                    /* a CAS under way that nobody waits for; nonce 0: none */
byte fresh = 1;
byte takes;
byte begun;                 /* objects that have a key */
byte epoch_of[OBJECTS];     /* in the key: records.segment_epoch */
byte exists;
byte late_create;           /* a Create under way that nobody waits for: its object, or 0 */
byte late_delete;           /* a Delete likewise */
byte dropped;               /* once named by the branch, and no longer */
byte child;                 /* the fork's state */
byte child_names;
byte i;                     /* zero outside of d_step */

inline land(x) {
  assert(x.epoch >= store.epoch);                                /* inv: epochs never run backwards */
  assert((x.names & ~exists) == 0);                              /* inv: no named object is missing */
  assert((x.names & dropped) == 0);                              /* inv: a dropped reference never comes back */
  dropped = dropped | (store.names & ~x.names);
  store.nonce = x.nonce; store.epoch = x.epoch; store.names = x.names;
  fly.nonce = 0; fly.epoch = 0; fly.names = 0                    /* it named the version that has moved */
}

inline delete(b) {
  assert((b & store.names) == 0);                                /* inv: no named object is missing */
  assert(child != LIVE || (b & child_names) == 0);               /* inv: a living fork names only what exists */
  exists = exists & ~b
}

proctype Network() {
end:
  do
  :: d_step { fly.nonce -> land(fly) }
  :: d_step { late_create -> exists = exists | late_create; late_create = 0 }
  :: d_step { late_delete -> delete(late_delete); late_delete = 0 }
  od
}

proctype Node(byte me) {
  Man m;       /* lane.manifest */
  Man n;       /* what is being sent */
  byte b;      /* the object being made or deleted */
  byte cand;   /* collect: candidates */
  byte named;  /* collect: what some manifest named */
  bit seen;    /* collect: the fork was in the last list */

take:                                                            /* own.take_ownership, see own.pml */
  if
  :: takes == TAKES -> goto dead
  :: atomic {
      takes < TAKES && (me == 0 || takes > 0) ->                 /* nodes are alike: 0 comes first */
      d_step {
        takes++; m.nonce = store.nonce; m.epoch = store.epoch; m.names = store.names;
        n.nonce = fresh; fresh++; n.epoch = m.epoch + 1; n.names = m.names
      }
    }
  fi;
  if
  :: d_step { store.nonce == m.nonce -> land(n); m.nonce = n.nonce; m.epoch = n.epoch; n.nonce = 0; n.epoch = 0; n.names = 0 }
  :: d_step { store.nonce == m.nonce && fly.nonce == 0 -> fly.nonce = n.nonce; fly.epoch = n.epoch; fly.names = n.names }; goto crash
  :: store.nonce != m.nonce -> goto crash
  fi;

work:
  if
  :: goto crash
  :: d_step { begun < OBJECTS -> b = BIT(begun); epoch_of[begun] = m.epoch; begun++;        /* ship.ship */
      n.names = m.names | b };
    goto create
  :: d_step { begun < OBJECTS && (m.names & (m.names - 1)) && (m.names & ~exists) == 0 ->    /* retain.retain: Join */
      b = BIT(begun); epoch_of[begun] = m.epoch; begun++;
      n.names = b };
    goto create
  :: d_step { exists & ~m.names ->                               /* collect.collect: the candidates */
      i = 0;
      do
      :: i < OBJECTS ->
        if
#ifdef COLLECT_NEWER_EPOCHS
        :: (exists & ~m.names & BIT(i)) -> cand = cand | BIT(i)
#else
        :: (exists & ~m.names & BIT(i)) && epoch_of[i] <= m.epoch -> cand = cand | BIT(i)
#endif
        :: else
        fi;
        i++
      :: else -> break
      od;
      i = 0
    };
    goto collect
  fi;

create:                                                          /* lane.settle_create */
  if
  :: d_step { true -> exists = exists | b }                      /* created, and the answer came */
  :: (exists & b)                                                /* None: an attempt in doubt had landed */
  :: d_step { late_create == 0 -> late_create = b };  /* in doubt: lands later */
#ifdef LINK_BEFORE_STORED
    skip
#else
    if
    :: goto create
    :: goto crash
    fi
#endif
  fi;
  d_step { n.nonce = fresh; fresh++; n.epoch = m.epoch };

swap:                                                            /* lane.swap */
  if
  :: d_step { store.nonce == m.nonce -> land(n); m.nonce = n.nonce; m.names = n.names; n.nonce = 0; n.epoch = 0; n.names = 0; b = 0 };
    goto work
  :: d_step { store.nonce == m.nonce && fly.nonce == 0 -> fly.nonce = n.nonce; fly.epoch = n.epoch; fly.names = n.names };
#ifdef COLLECT_AFTER_A_LOST_ANSWER
    d_step { n.nonce = 0; n.epoch = 0; n.names = 0; b = 0 }; goto work
#else
    if
    :: goto crash
    :: goto swap
    fi
#endif
  :: d_step { store.nonce == n.nonce -> m.nonce = n.nonce; m.names = n.names; n.nonce = 0; n.epoch = 0; n.names = 0; b = 0 };
    goto work
  :: store.nonce != m.nonce && store.nonce != n.nonce ->
#ifndef COLLECT_AFTER_A_LOST_ANSWER
    assert(store.epoch > m.epoch);                               /* inv: nobody else changes the manifest under our epoch */
#endif
    goto crash                                                   /* Fenced */
  fi;

collect:
  if
  :: cand == 0 -> goto work
  :: else
  fi;
  seen = (child != NONE);                                        /* _manifests: the list */
again:
#ifndef OWN_MANIFEST_ONLY
  named = store.names;                                           /* read: our manifest as it is now */
#ifdef FORKS
  if
#ifdef FORMING_DOES_NOT_COUNT
  :: seen && child == LIVE -> named = named | child_names
#else
  :: seen -> named = named | child_names                         /* read: the fork's */
#endif
  :: else
  fi;
  if
  :: d_step { !seen && child != NONE -> seen = 1; named = 0 }; goto again
  :: seen || child == NONE                                       /* the same list twice */
  fi;
#endif
#endif
  d_step { cand = cand & ~named; named = 0; seen = 0 };
sweep:
  if
  :: cand == 0 -> goto work
  :: goto crash
  :: cand != 0 ->
    d_step { b = cand & (~(cand - 1)) };
    if
    :: d_step { true -> delete(b); cand = cand & ~b; b = 0 }
    :: d_step { late_delete == 0 -> late_delete = b; cand = cand & ~b; b = 0 }  /* in doubt: lands later */
    fi;
    goto sweep
  fi;

crash: skip;                                                     /* died, or fenced: all but the store is forgotten */
  d_step {
    m.nonce = 0; m.epoch = 0; m.names = 0; n.nonce = 0; n.epoch = 0; n.names = 0;
    b = 0; cand = 0; named = 0; seen = 0
  };
  goto take;

dead:
  skip
}

#ifdef FORKS
/* branches.fork, by anybody, of the head. What it sends lands at any time and it waits for it; that
 * it may die meanwhile adds nothing: not being scheduled any more is the same. */
proctype Fork() {
  byte chain;
  store.names -> chain = store.names;                            /* _live, _origin */
  d_step { child = FORMING; child_names = chain };               /* _form */
look: skip; 
#ifndef NO_SECOND_LOOK
  if
  :: d_step { (chain & ~store.names) == 0 -> chain = 0 }
  :: (chain & ~store.names) -> chain = store.names;              /* copied again */
    child_names = chain;
    goto look
  fi;
#endif
  d_step {
    assert((child_names & ~exists) == 0);                        /* inv: a living fork names only what exists */
    child = LIVE
  }
}
#endif

init {
  atomic {
    run Network();
    run Node(0);
    run Node(1)
#ifdef FORKS
    ; run Fork()
#endif
  }
}
