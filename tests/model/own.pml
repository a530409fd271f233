/* Taking a branch, shipping, stopping cleanly, deleting; lost answers and PUTs that land late.
 *
 * One branch, NODES processes with a disk each, every one of them taking ownership, working, dying
 * and coming back, TAKES times in all. The Python function that a step stands for is named beside it.
 * Mutations are -D switches in capitals; tests/model/check.py lists them.
 */
#ifndef NODES
#define NODES 2
#endif
#ifndef WRITES
#define WRITES 3  /* commits in all */
#endif
#ifndef TAKES
#define TAKES 3   /* attempts to own the branch in all, restarts included */
#endif
#ifndef FLY
#define FLY 2     /* requests that may be under way while nobody waits for them any longer */
#endif
#define STEP 2    /* own.LIMIT_STEP */
#if NODES > 2
#define DISKS (disk[0] | disk[1] | disk[2])
#else
#define DISKS (disk[0] | disk[1])
#endif
#define BIT(i) (1 << (i))

#define LOCAL 1
#define DURABLE 2
#define STOP 3
#define DELETE 4

/* records.Manifest. `nonce` is its version too: every change carries a fresh one. `words` are the
 * commits that its segments hold, a bit each; `owner` is the owner's nonce. */
typedef Man { byte nonce; byte epoch; byte owner; byte txid; byte limit; byte words; bit gone };

Man store;
Man fly[FLY];               /* nonce 0: an empty place */
byte fresh = 1;
byte takes;
byte used;
byte txid_of[WRITES];       /* of each commit */
byte disk[NODES];           /* the commits in each node's database file: survive a crash */
byte recorded[NODES];       /* requests.RecordEpoch: owner nonces, beside the file */
byte durable;               /* acknowledged as durable */
byte acked;                 /* acknowledged at all */
byte recovered;             /* saved as a recovered branch */
byte linker[TAKES + 3];     /* by epoch: who changed the manifest under it */
byte i;                     /* zero outside of d_step */

inline copy(a, b) {
  b.nonce = a.nonce; b.epoch = a.epoch; b.owner = a.owner; b.txid = a.txid; b.limit = a.limit;
  b.words = a.words; b.gone = a.gone
}

inline clear(a) {
  a.nonce = 0; a.epoch = 0; a.owner = 0; a.txid = 0; a.limit = 0; a.words = 0; a.gone = 0
}

/* A change of the manifest lands. All that is under way names the version that now has moved, and
 * versions never come back: it can do nothing any more and is forgotten. */
inline land(x) {
  assert(!store.gone);                                           /* inv: a tombstone stays */
  assert(x.epoch >= store.epoch);                                /* inv: epochs never run backwards */
  assert(linker[x.epoch] == 0 || linker[x.epoch] == x.owner);    /* inv: one owner links under an epoch */
  assert((durable & ~x.words) == 0);                             /* inv: no durable write is lost */
  assert((store.words & ~x.words) == 0);                         /* inv: history only grows */
  assert(x.txid >= store.txid && x.txid <= x.limit);             /* inv: the head stays under the limit */
  linker[x.epoch] = x.owner;
  copy(x, store);
#ifndef UNCONDITIONAL_PUT
  i = 0;
  do
  :: i < FLY -> clear(fly[i]); i++
  :: else -> break
  od;
#endif
  i = 0
}

proctype Network() {
  Man x;
end:
  do
  :: d_step { fly[0].nonce -> copy(fly[0], x); clear(fly[0]); land(x); clear(x) }
  :: d_step { fly[FLY - 1].nonce -> copy(fly[FLY - 1], x); clear(fly[FLY - 1]); land(x); clear(x) }
  od
}

#ifdef UNCONDITIONAL_PUT
#define STILL(version) true
#else
#define STILL(version) (store.nonce == version)
#endif

/* requests.Create / Replace of a manifest. Refused, and in doubt with a request that never lands,
 * are one case, because nobody treats them differently. */
inline put(x, version) {
  if
  :: d_step { STILL(version) -> land(x); sure = 1 }              /* landed, and the answer came */
  :: store.nonce != version                                      /* the version has moved: None */
  :: true                                                        /* refused, or lost on the way there */
  :: d_step { STILL(version) && fly[0].nonce == 0 && fly[FLY - 1].nonce != x.nonce -> copy(x, fly[0]) }
  :: d_step { STILL(version) && fly[0].nonce != 0 && fly[0].nonce != x.nonce && fly[FLY - 1].nonce == 0 -> copy(x, fly[FLY - 1]) }
  fi                                                             /* in doubt: lands at any later time, or never */
}

proctype Node(byte me) {
  Man m;      /* lane.manifest; lane.version is its nonce */
  Man n;      /* what is being sent */
  byte floor; /* lane.floor */
  byte next;  /* the next txid to hand out */
  byte was;   /* before.owner's nonce */
  byte w;
  byte why;
  bit sure;

take: skip;                                                            /* own.take_ownership */
  d_step { clear(m); clear(n); floor = 0; next = 0; was = 0; w = 0; why = 0; sure = 0 }
  if
  :: takes == TAKES || store.gone -> goto dead
  :: d_step {
      takes < TAKES && !store.gone && (me == 0 || recorded[me - 1]) ->  /* nodes are alike: 0 comes first, then 1 */
      takes++;
      copy(store, m);                                            /* lane.read */
      copy(m, n);                                                /* own._next */
      n.nonce = fresh; fresh++;
      n.owner = takes;
      n.limit = m.limit + STEP;
#ifndef SAME_EPOCH
      n.epoch = m.epoch + 1;
#endif
      recorded[me] = recorded[me] | BIT(n.owner);                /* RecordEpoch */
    }
  fi;
  put(n, m.nonce);
  if
  :: sure
  :: !sure ->
    if
    :: goto take                                                 /* died waiting */
    :: store.nonce == n.nonce                                    /* it had landed */
    :: store.nonce != n.nonce -> goto take                       /* Sleep, again */
    fi
  fi;
  d_step {
    floor = m.limit;
    was = m.owner;
#ifdef REUSE_TXIDS
    next = m.txid + 1;
#else
    next = floor + 1;                                            /* Taken.first_txid */
#endif
    copy(n, m); clear(n); sure = 0
  }
  if
  :: goto take                                                   /* died before it looked at its file */
  :: d_step {                                                    /* engine.md 4: start, recovered branch */
      i = 0; w = 1;                                              /* w: the file begins with what is shipped */
      do
      :: i < WRITES ->
        if
        :: (disk[me] & ~m.words & BIT(i)) && txid_of[i] <= m.txid -> w = 0
        :: else
        fi;
        i++
      :: else -> break
      od;
      i = 0;
      if
#ifdef TRUST_ANY_FOLDER
      :: true
#else
      :: was && (recorded[me] & BIT(was)) && (m.words & ~disk[me]) == 0 && w
      :: else ->
#ifndef NO_RECOVERED_BRANCH
        recovered = recovered | (disk[me] & ~m.words);
#endif
        disk[me] = m.words
#endif
      fi;
      w = 0; was = 0;
      assert((acked & ~(store.words | DISKS | recovered)) == 0); /* inv: no acknowledged write is silently gone */
    }
  fi;

work:
  if
  :: goto take                                                   /* died, or closed without stopping */
  :: d_step {                                                    /* a commit, acknowledged as local or to be durable */
      used < WRITES && next <= m.limit ->
      i = 0;
      do
      :: i < used -> assert(txid_of[i] != next); i++             /* inv: txids never repeat */
      :: else -> break
      od;
      i = 0;
      w = used; used++;
      txid_of[w] = next; next++;
      disk[me] = disk[me] | BIT(w);
      acked = acked | BIT(w);
      why = LOCAL
    };
    if
    :: d_step { w = 0; why = 0 }; goto work
    :: why = DURABLE; goto ship
    fi
  :: (disk[me] & ~m.words) != 0 -> why = LOCAL; goto ship
  :: d_step {                                                    /* own.stop_cleanly */
      (disk[me] & ~m.words) == 0 && m.limit > (m.txid > floor -> m.txid : floor) ->
      copy(m, n);
      n.nonce = fresh; fresh++;
#ifdef LOW_LIMIT
      n.limit = m.txid;
#else
      n.limit = (m.txid > floor -> m.txid : floor);
#endif
      why = STOP
    };
    goto swap
  :: d_step {                                                    /* branches.delete_branch */
      used == WRITES ->
      copy(m, n);
      n.nonce = fresh; fresh++;
      n.gone = 1; n.epoch = m.epoch + 1; n.owner = m.owner;
      why = DELETE
    };
    goto swap
  fi;

ship: skip;                                                            /* ship.ship; its object: collect.pml */
  d_step {
    copy(m, n);
    n.nonce = fresh; fresh++;
    i = 0;
    do
    :: i < WRITES ->
      if
      :: (disk[me] & BIT(i)) && txid_of[i] > m.txid ->
        n.words = n.words | BIT(i);
        n.txid = (txid_of[i] > n.txid -> txid_of[i] : n.txid)
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0;
    assert(m.txid < n.txid && n.txid <= m.limit);                /* inv: a shipped txid may be acknowledged */
    assert(n.words == disk[me]);                                 /* inv: what is linked is what the database holds */
    n.limit = (m.limit > n.txid + STEP -> m.limit : n.txid + STEP)
#ifdef ACK_EARLY
    ;
    if
    :: why == DURABLE -> durable = durable | BIT(w)
    :: else
    fi
#endif
  };

swap:                                                            /* lane.swap */
  put(n, m.nonce);
  if
  :: sure -> goto landed
  :: !sure
  fi;
#ifdef GIVE_UP_ON_LOST_ANSWER
  if
  :: store.nonce == m.nonce -> d_step { clear(n); w = 0; why = 0 }; goto work
  :: else
  fi;
#endif
  if
  :: goto take                                                   /* died waiting */
  :: store.nonce == m.nonce -> goto swap                         /* the same bytes again */
  :: d_step { store.nonce == n.nonce -> sure = 1 }; goto landed
  :: d_step {
      store.nonce != m.nonce && store.nonce != n.nonce ->
#ifdef FENCE_BY_THE_NEW_EPOCH
      assert(store.epoch > n.epoch);                             /* inv: nobody else changes the manifest under our epoch */
#else
      assert(store.epoch > m.epoch);                             /* inv: nobody else changes the manifest under our epoch */
#endif
      if                                                         /* Fenced.manifest tells whether it landed before */
      :: why == DURABLE && (store.words & BIT(w)) -> durable = durable | BIT(w)
      :: else
      fi
    };
#ifdef FENCED_GOES_ON
    m.nonce = store.nonce; goto swap
#else
    goto take
#endif
  fi;

landed: skip;
  d_step {
    if
    :: why == DURABLE ->
      durable = durable | BIT(w);
      assert((durable & ~store.words) == 0)                      /* inv: no durable write is lost */
    :: else
    fi;
    copy(n, m); clear(n); sure = 0; w = 0
  };
  if
  :: why == STOP || why == DELETE -> goto take
  :: else -> why = 0; goto work
  fi;

dead:
  skip
}

init {
  atomic {
    run Network();
    run Node(0);
    run Node(1)
#if NODES > 2
    ; run Node(2)
#endif
  }
}
