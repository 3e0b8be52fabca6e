"""Announcer tells a streamer's audience, on every network they use, that the stream is live.

Two halves meet in a table. The first judges what Owncast tells and stores it; the second makes it
so. Read the modules in this order, and you have seen all of it:

    events      pure   what Owncast told us: a body becomes an Event, every generation of it
    policy      pure   every judgement: is it a new broadcast, who is told, what follows a failure
    sightings   pure   what Owncast shows and no webhook told
    chat        pure   what is said of the other posts: after them, and again while it is live
    quiet       pure   what is not announced: skip words, quiet hours, a pause
    badges      pure   when a mark beside the announcement is on, such as a pin
    alerts      pure   what the operator is told when something is wrong
    network     pure   the contract: a Post in; a Receipt or one of four errors out
    wording     pure   from a broadcast to a text: which template says it; `fitting` makes that fit,
                       `sandbox` runs the operator's templates within a `budget`, and `facts` is
                       what they may say
    shelf              those templates as files that are edited on the page
    settings           how settings are declared, read and documented; `secretfile` reads secrets
    rotation           secrets whose files change while we run
    shelf              the folder of templates as something to edit

    outbox             the durable middle: all SQL. `migrations` makes its schema
    intake             first half: an event in, decided and stored in one transaction
    watch              asks Owncast how things are
    pictures           the stream's thumbnail: fetched, checked, made small enough
    patrol             asks it again and again; what no webhook told becomes an event, too
    content            what a post says, frozen before the first byte leaves
    answers            tells a viewer who asks in chat where the posts are
    delivery           second half: claim what is due, many at once, and let each be tried
    author             words a claimed post, right before it leaves
    gate               whether it may be told now
    attempt            one try of it: sent, and what came back
    outcome            stored, with all that follows from it
    wire               the one door out; `connection` is below it, so is `line` for what is not
                       HTTP, and `meaning` says what each answer or failure there means;
                       `timelimit` ends what takes too long
    networks           one module is one network; `contract` proves each, and those of others
    crashpoints        where a test lets the process die, around all that is stored or sent

    rollcall           who we are on every network, as it was found out last
    metrics            what happened since the start, counted and timed
    tracing            the same one by one, for those who collect spans
    housekeeping       throws away what is old
    lateness           what of it was told late, and why, for history
    web                webhook, pages, health, `web.push` for viewers; `web.server` is gunicorn with
                       the right settings
    scheduler          the clock: wakes delivery when something is due
    logs               one line for each thing that happened, and no secret in it
    wiring             the one place where parts are chosen and put together
    envfile            the file `.env`, changed without losing what a person wrote there
    admin              Owncast's admin API; `arrangement` has it hold a webhook and a token for us
    connect            how an account is logged in: one module for each network that allows it
    shelf              the operator's templates as files that are edited on the page
    trial              a real post that says it is a test
    cli                commands; `reference` writes docs, `rehearsal` plays Owncast, `demo` a town

Words: a *channel* is one Owncast server. An *event* is one thing it told us. A *broadcast* is one
live show as its audience sees it, through reconnects. A *destination* is one account on one
network. A *post* is what a destination is to show; its key `<broadcast>/<moment>/<destination>`
names the row, makes the idempotency key, and is the operator's handle. A *receipt* is what the
network gave back.
"""
