/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol of leases as a model for spin: grant, recall, release, revoke, expire, reconnect. docs/model.md says which line
 * of the code each transition is.
 *
 * One range of one file. Client 0 is honest, client 1 hostile: it never answers, or answers anything at any time, and tries
 * any key. Connections are lost and resumed at any moment, sessions expire, the breaker may give up. An atomic block is what
 * the code does under one hold of LEASE; between blocks anything may happen. Time is left out: a deadline may pass at any
 * moment after the recall, so whatever holds here holds for every length of D.
 *
 * What is checked, each with a guard that, taken away (-DNO_...), must make spin find a violation (scripts/model):
 *
 *   no access after drained   assert in Mover                        NO_DRAIN   revoke does not wait for who is inside
 *   no grant inside a gate    assert in Worker                       NO_GATE    a grant does not look at gates
 *   every break ends          ltl break_ends                         NO_TIMER   nobody forces at the deadline
 *   no double charge          assert in piece_gone, charges          NO_GOING   who drains does not mark the piece as his
 *   both sides believe alike  assert in Monitor (L11)                NO_MEMORY  a recall that overtook its grant is forgotten
 *   nothing after the end     assert in Net (L34)                    NO_MARGIN  the client trusts its lease as long as the server
 */
#ifndef GRANTS
#define GRANTS 3 /* lease numbers, in all */
#endif
#ifndef BREAKS
#define BREAKS 2
#endif
#ifndef LOSSES
#define LOSSES 1 /* of the honest client's connection */
#endif
#ifndef HOSTILE_LOSSES
#define HOSTILE_LOSSES 1
#endif
#ifndef GETS
#define GETS 2 /* of the honest client */
#endif
#ifndef TRIES
#define TRIES 2 /* messages of the hostile client */
#endif
#define CLIENTS 2
#define HONEST  0
#define HOSTILE 1
#define ROOM    8 /* more than can be under way */

mtype:message = { GET, RELEASE, GRANT, RECALL, REVOKED };
mtype:piece = { NONE, IDLE, RECALLED, GOING };

chan up[CLIENTS] = [2] of { mtype:message, byte };
chan down[CLIENTS] = [ROOM] of { mtype:message, byte };

/* --- the server's side; under LEASE --- */
mtype:piece piece[CLIENTS] = NONE;	/* the one piece of the client's lease */
byte number[CLIENTS];		/* of the lease; stays after its end, numbers are never used twice */
byte last;
bool gate;			/* a break is running: I6 */
bool counted[CLIENTS];		/* the running break waits for this piece */
byte charge[CLIENTS];		/* I5 */
bool releasing;			/* a RELEASE of the honest client is being carried out */
bool wants[CLIENTS];		/* a LEASE_GET waits on a worker */
bool open_[CLIENTS];		/* the arbiter's session takes grants */

/* --- the device's --- */
bool alive[CLIENTS];		/* the key of lease number[c] */
bool inside[CLIENTS];		/* a mover holds it for one chunk */
bool moved;			/* the blocks belong to somebody else */

/* --- the connection --- */
bool connected[CLIENTS];

/* --- the honest client's --- */
byte belief;			/* number of the lease that it uses; 0: none */
byte remembered;		/* P48: a recall of this number came while a GET was unanswered */
bool asking;
bool trusted;			/* by its own clock its session lives */

#define held(c) (piece[c] != NONE)
#define due(c)  (piece[c] == RECALLED)

/* Takes the piece out: piece_remove. Inside an atomic block. */
inline piece_gone(c)
{
	assert(held(c));
	assert(charge[c] == 1);
	charge[c] = charge[c] - 1;
	counted[c] = false;
	piece[c] = NONE
}

/* batch_drain: the key dies, then nobody is inside any more. Not atomic: movers run meanwhile. */
inline drain(c)
{
	alive[c] = false;
#ifndef NO_DRAIN
	!inside[c]
#endif
}

#ifdef NO_GATE
#define let_in true
#else
#define let_in (!gate)
#endif

/* The margin: the server's lease time ends after the client's, whatever the clocks' rates are within the allowance. */
#ifdef NO_MARGIN
#define expires(c) true
#else
#define expires(c) (c == HOSTILE || !trusted)
#endif

/* A piece may be taken by whoever ends it when nobody else is at it. */
#ifdef NO_GOING
#define free_to_end(c) held(c)
#else
#define free_to_end(c) (piece[c] == IDLE || piece[c] == RECALLED)
#endif

/* release_number of client c: what is in other hands is waited for; a number that is not held is released already (L11). */
inline release(c, n)
{
	do
	:: atomic { held(c) && number[c] == n && free_to_end(c) -> piece[c] = GOING };
		drain(c);
		atomic { piece_gone(c) };
		break
	:: atomic { !held(c) || number[c] != n -> break }
	od
}

/* The loop: releases at once, hands LEASE_GET to the worker. It never waits for others' leases. */
active proctype Loop()
{
	byte c, n;
end:	do
	:: atomic { connected[0] && up[0]?[GET, _] && !wants[0] -> up[0]?GET, _; wants[0] = true }
	:: atomic { connected[1] && up[1]?[GET, _] && !wants[1] -> up[1]?GET, _; wants[1] = true }
	:: atomic { connected[1] && up[1]?[GET, _] && wants[1] -> up[1]?GET, _ } /* P18: refused */
	:: atomic { connected[0] && up[0]?[RELEASE, n] -> up[0]?RELEASE, n; c = 0; releasing = true };
		release(c, n);
		atomic { releasing = false; c = 0; n = 0 }
	:: atomic { connected[1] && up[1]?[RELEASE, n] -> up[1]?RELEASE, n; c = 1 };
		release(c, n);
		atomic { c = 0; n = 0 }
	od
}

/* Grants, under INODE: lease_grant and lease_pin_attach; then, later, the answer (P43: a recall may be queued before it). */
proctype Worker(byte c)
{
end:	do
	:: atomic {
		wants[c] && open_[c] && !held(c) && last < GRANTS && let_in -> assert(!gate);
		last++;
		number[c] = last;
		piece[c] = IDLE;
		assert(charge[c] == 0);
		charge[c] = charge[c] + 1;
		alive[c] = true
	   };
	   atomic { wants[c] = false; down[c]!GRANT, number[c] }
	:: atomic { wants[c] && (held(c) || last == GRANTS || !open_[c]) -> wants[c] = false; down[c]!GRANT, 0 } /* refused */
	od
}

/* timer.c, force.c: whatever is due is marked, drained, taken out, told. */
active proctype Timer()
{
	byte c;
end:	do
#ifndef NO_TIMER
	:: atomic { due(0) -> c = 0; piece[0] = GOING }; drain(c); atomic { piece_gone(c); down[c]!REVOKED, number[c]; c = 0 }
	:: atomic { due(1) -> c = 1; piece[1] = GOING }; drain(c); atomic { piece_gone(c); down[c]!REVOKED, number[c]; c = 0 }
#else
	:: false -> skip
#endif
	od
}

bool breaking;

/* layout.h's protocol: gate, recall, wait, receipt, act, open the gate. */
active proctype Breaker()
{
	byte rounds;
	bool killed;
	do
	:: rounds < BREAKS ->
		rounds++;
		if
		:: killed = true	/* its caller will be, if it has to wait */
		:: killed = false
		fi;
		atomic {
			breaking = true;
			gate = true;
			if
			:: held(0) -> counted[0] = true;
				if
				:: piece[0] == IDLE -> piece[0] = RECALLED; down[0]!RECALL, number[0]
				:: else
				fi
			:: else
			fi;
			if
			:: held(1) -> counted[1] = true;
				if
				:: piece[1] == IDLE -> piece[1] = RECALLED; down[1]!RECALL, number[1]
				:: else
				fi
			:: else
			fi
		};
		if
		:: !counted[0] && !counted[1];
			/* lease_drained: nobody's pin reaches the range; then the blocks go to somebody else. */
			atomic { assert(!held(0) && !held(1)); moved = true };
			/* Nobody can reach them any more, so it does not matter how long this lasts. */
			atomic { moved = false; gate = false; breaking = false }
		:: atomic { killed && (counted[0] || counted[1]) -> /* lease_interrupt */
			counted[0] = false;
			counted[1] = false;
			gate = false;
			breaking = false
		   }
		fi
	:: rounds == BREAKS -> break
	od
}

/* key_enter, one chunk, key_leave; on behalf of a client that may show any number: only the living one of its own domain works. */
proctype Mover(byte c)
{
end:	do
	:: atomic { alive[c] -> inside[c] = true };
		atomic { assert(!moved); inside[c] = false } /* L12: the bytes are touched until here */
	od
}

/* The connection and the session's life. What is under way when it is lost comes after the RESUME (both sides send it again). */
proctype Net(byte c)
{
	byte losses;
	mtype:message m;
	byte n;
end:	do
	:: atomic { connected[c] && losses < (c == HONEST -> LOSSES : HOSTILE_LOSSES) -> losses++; connected[c] = false }
	:: atomic { !connected[c] && open_[c] -> connected[c] = true } /* RESUME in time */
	:: atomic { !connected[c] && open_[c] && expires(c) -> /* the lease time is over: session_end */
		assert(c == HOSTILE || !trusted || belief == 0);
		open_[c] = false
	   };
		!wants[c]; /* a request in progress ends */
		release(c, number[c]);
		/* The client hears that its session is gone (ESTALE) and makes a new one. */
		atomic {
			do
			:: down[c]?m, n
			:: empty(down[c]) -> break
			od;
			do
			:: up[c]?m, n
			:: empty(up[c]) -> break
			od;
			if
			:: c == HONEST -> belief = 0; remembered = 0; asking = false; trusted = true
			:: else
			fi;
			m = 0;
			n = 0;
			open_[c] = true;
			connected[c] = true
		}
	od
}

active proctype Honest()
{
	byte n, gets;
end:	do
	:: atomic { gets < GETS && !asking && belief == 0 && nfull(up[HONEST]) && trusted ->
		gets++; asking = true; up[HONEST]!GET, 0 }
	:: atomic { connected[HONEST] && down[HONEST]?[GRANT, n] && nfull(up[HONEST]) -> down[HONEST]?GRANT, n;
		asking = false;
		if
		:: n == 0
		:: n != 0 && n == remembered -> skip /* forgotten: its release is under way */
		:: n != 0 && n != remembered -> belief = n
		fi;
		remembered = 0;
		n = 0
	   }
	:: atomic { connected[HONEST] && down[HONEST]?[RECALL, n] && nfull(up[HONEST]) -> down[HONEST]?RECALL, n;
		if
		:: belief == n -> belief = 0
		:: belief != n && asking ->
#ifndef NO_MEMORY
			remembered = n
#else
			skip
#endif
		:: else
		fi;
		up[HONEST]!RELEASE, n;
		n = 0
	   }
	:: atomic { connected[HONEST] && down[HONEST]?[REVOKED, n] -> down[HONEST]?REVOKED, n;
		if
		:: belief == n -> belief = 0
		:: belief != n && asking -> remembered = n
		:: else
		fi;
		n = 0
	   }
	:: atomic { belief != 0 && nfull(up[HONEST]) -> n = belief; belief = 0; up[HONEST]!RELEASE, n; n = 0 } /* done with it */
	:: atomic { !connected[HONEST] && trusted -> trusted = false } /* its own clock, a margin before the server's */
	:: atomic { connected[HONEST] && open_[HONEST] && !trusted -> trusted = true }
	od
}

/* Asks, releases what it has or never had, or says nothing at all. Its movers go on as long as they can. */
active proctype Hostile()
{
	byte n, tries;
end:	do
	:: atomic { tries < TRIES && nfull(up[HOSTILE]) -> tries++;
		if
		:: up[HOSTILE]!GET, 0
		:: up[HOSTILE]!RELEASE, number[HOSTILE]
		:: up[HOSTILE]!RELEASE, number[HONEST]
		fi }
	:: atomic { nempty(down[HOSTILE]) -> down[HOSTILE]?_, n; n = 0 }
	od
}

#define quiet	(empty(up[HONEST]) && empty(down[HONEST]) && connected[HONEST] && open_[HONEST] && !asking && \
		 !wants[HONEST] && !releasing && piece[HONEST] != GOING)

/* L11: when nothing is under way, both sides believe the same. I5: the charge is what is held. */
active proctype Monitor()
{
end:	do
	:: atomic { quiet && (belief != 0 || held(HONEST)) -> assert(held(HONEST) && belief == number[HONEST]) }
	:: atomic { charge[0] > 1 || charge[1] > 1 -> assert(false) }
	:: atomic { (held(0) && charge[0] == 0) || (!held(0) && charge[0] != 0) -> assert(false) }
	od
}

init {
	atomic {
		piece[0] = NONE; piece[1] = NONE;
		open_[0] = true; open_[1] = true;
		connected[0] = true; connected[1] = true;
		trusted = true;
		run Worker(0); run Worker(1);
		run Mover(0); run Mover(1);
		run Net(0); run Net(1)
	}
}

ltl break_ends { [] (breaking -> <> !breaking) }
