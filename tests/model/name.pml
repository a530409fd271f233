/* Two forks of one name: reserving it, freeing a stale one, and what each fork tells its caller.
 *
 * Forks 1 and 2 want the same name; the minute after which a fork that still forms is stale may end
 * at any time. A fork that lives may be taken by an owner, who may delete it. A request lands at any
 * later time; the fork waits for it or has died. The Python function that a step stands for is named
 * beside it. Mutations are -D switches in capitals; tests/model/check.py lists them.
 */
#define NONE 0
#define FORMING 1
#define LIVE 2
#define DELETED 3
#define YES 1
#define CONFLICT 2

/* The name's object: the branch it leads to (0: never written) and its version. */
byte head;
byte head_moved;
byte old[3];                /* the name was reserved for this fork over a minute ago */
byte state[3];              /* of each fork's manifest */
byte moved[3];              /* its version */
byte lived[3];
byte answer[3];             /* what `fork` told its caller */
byte deleted[3];            /* delete_branch by its owner */

typedef Put { bit busy; byte version; byte value };
Put to_head[3];             /* a pending Create or Replace of the name, by each fork */
Put to_own[3];              /* a pending change of the manifest of each fork, by itself */

inline check() {
  assert(answer[1] != YES || deleted[1] || (head == 1 && state[1] == LIVE)); /* inv: a fork that was answered is found under its name */
  assert(answer[2] != YES || deleted[2] || (head == 2 && state[2] == LIVE)); /* inv: a fork that was answered is found under its name */
  assert(answer[1] != CONFLICT || !(head == 1 && state[1] == LIVE));         /* inv: a fork that was refused does not live */
  assert(answer[2] != CONFLICT || !(head == 2 && state[2] == LIVE));         /* inv: a fork that was refused does not live */
  assert(state[1] != LIVE || state[2] != LIVE)                               /* inv: one living branch under a name */
}

inline land_head(f) {
  if
  :: to_head[f].version == head_moved -> head = f; head_moved++
  :: else
  fi;
  to_head[f].busy = 0; to_head[f].version = 0;
  check()
}

inline land_own(f) {
  if
  :: to_own[f].version == moved[f] ->
    assert(state[f] != DELETED);                                 /* inv: a tombstone stays */
    state[f] = to_own[f].value; moved[f]++;
    if :: state[f] == LIVE -> lived[f] = 1 :: else fi
  :: else
  fi;
  to_own[f].busy = 0; to_own[f].version = 0; to_own[f].value = 0;
  check()
}

proctype Network() {
end:
  do
  :: d_step { to_head[1].busy -> land_head(1) }
  :: d_step { to_head[2].busy -> land_head(2) }
  :: d_step { to_own[1].busy -> land_own(1) }
  :: d_step { to_own[2].busy -> land_own(2) }
  :: d_step { head != 0 && !old[head] -> old[head] = 1 }          /* a minute */
  od
}

proctype Fork(byte me; byte other) {
  byte v;
  byte w;
  byte held;
                                                                 /* heads.reserve */
  d_step { true -> to_head[me].busy = 1; to_head[me].version = 0 };  /* settle_create */
  !to_head[me].busy;
again: skip;
  d_step { true -> held = head; v = head_moved };                /* read */
  if
  :: held == me -> goto form
  :: held != me
  fi;
                                                                 /* heads._free, bury */
free: skip;
  if
  :: state[other] == DELETED -> goto seize
  :: state[other] == LIVE || (state[other] != DELETED && !old[other]) ->
    d_step { true -> answer[me] = CONFLICT; check() }; goto done /* Conflict: already_exists */
  :: d_step { state[other] == NONE && old[other] -> w = 0 };
#ifdef NO_TOMBSTONE_FOR_THE_UNWRITTEN
    goto seize
#endif
  :: d_step { state[other] == FORMING && old[other] -> w = moved[other] }
  fi;
  d_step {                                                       /* Create or Replace with a tombstone */
    if
    :: moved[other] == w -> state[other] = DELETED; moved[other]++; check()
    :: else
    fi;
    w = 0
  };
  goto free;
seize: skip;
  d_step { true -> to_head[me].busy = 1; to_head[me].version = v };  /* Replace */
  !to_head[me].busy;
  goto again;

form: skip;                                                      /* branches._form */
  d_step { true -> to_own[me].busy = 1; to_own[me].version = 0; to_own[me].value = FORMING };
  !to_own[me].busy;
  if
  :: state[me] != FORMING -> goto fenced
  :: state[me] == FORMING
  fi;
                                                                 /* branches._grow; the second look: fork.pml */
  d_step { true -> to_own[me].busy = 1; to_own[me].version = 1; to_own[me].value = LIVE };
  !to_own[me].busy;
  if
  :: d_step { state[me] == LIVE && moved[me] == 2 -> answer[me] = YES; check() }; goto done  /* our nonce */
  :: !(state[me] == LIVE && moved[me] == 2)
  fi;
fenced: skip;                                                    /* Fenced, caught in branches.fork */
  d_step {
    true ->
    if
#ifndef CONFLICT_ALTHOUGH_IT_LIVES
    :: state[me] == LIVE || deleted[me] -> answer[me] = YES      /* only its own change makes it live */
#endif
    :: else -> answer[me] = CONFLICT
    fi;
    check()
  };
done:
  skip
}

/* Whoever found the branch by its name: own.take_ownership, and perhaps branches.delete_branch. */
proctype Owner(byte b) {
  d_step { head == b && state[b] == LIVE -> moved[b]++ };
  d_step { true -> state[b] = DELETED; moved[b]++; deleted[b] = 1; check() }
}

init {
  atomic {
    run Network();
    run Fork(1, 2);
    run Fork(2, 1);
    run Owner(1);
    run Owner(2)
  }
}
