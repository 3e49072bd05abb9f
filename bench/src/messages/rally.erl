%% What the guest `rally` does, in Erlang: one process asks, another answers, here or on another node.
%%
%% Prints the median and the 99th percentile of a round trip, how many messages went one way, and how long that took
%% until the other had said that it has got them all; times are in nanoseconds.

-module(rally).
-export([local/1, answers/0, asks/1, answer/1]).

%% Messages that are under way one way at most, and how many are acknowledged together: each is tried, and what does
%% best is printed. The first is no bound.
-define(WINDOWS, [{infinity, infinity}, {1 bsl 16, 1 bsl 13}, {1 bsl 12, 1 bsl 9}]).

%% The clock is looked at when so many have been sent.
-define(STRETCH, 256).

%% What part of all is not measured, and comes first.
-define(WARM_UP, 4).

local(Arguments) ->
    measure(spawn(?MODULE, answer, [0]), Arguments).

%% A node that answers says that it is there.
answers() ->
    io:format("ready~n").

asks([Node | Arguments]) ->
    measure(spawn(list_to_atom(Node), ?MODULE, answer, [0]), Arguments).

answer(Counted) ->
    receive
        {back, From, Message} -> From ! Message, answer(Counted);
        {acknowledge, From} -> From ! acknowledged, answer(Counted);
        {sum, From} -> From ! {sum, Counted}, answer(0);
        Message when is_binary(Message) -> answer(Counted + 1)
    end.

measure(To, Arguments) ->
    [Size, Trips, Millis] = [list_to_integer(Argument) || Argument <- Arguments],
    Message = binary:copy(<<7>>, Size),
    trips(To, Message, Trips div ?WARM_UP),
    Times = lists:sort(trips(To, Message, Trips)),
    Time = erlang:convert_time_unit(Millis, millisecond, native),
    Rushed = [rush(To, Message, Time div length(?WINDOWS), Window) || Window <- ?WINDOWS],
    {_, Count, Took} = lists:max([{N / T, N, T} || {N, T} <- Rushed]),
    Share = fun(Percent) -> nanos(lists:nth(1 + (Trips - 1) * Percent div 100, Times)) end,
    io:format("~b ~b ~b ~b~n", [Share(50), Share(99), Count, nanos(Took)]),
    erlang:halt(0).

trips(To, Message, Count) ->
    [trip(To, Message) || _ <- lists:seq(1, Count)].

trip(To, Message) ->
    Begun = erlang:monotonic_time(),
    To ! {back, self(), Message},
    receive Message -> erlang:monotonic_time() - Begun end.

%% How many have been sent in that time, and how long it took until they were counted.
rush(To, Message, Time, Window) ->
    Begun = erlang:monotonic_time(),
    Count = send(To, Message, Begun + Time div ?WARM_UP, Window, 0, 0),
    Count = sum(To),
    Measured = erlang:monotonic_time(),
    Sent = send(To, Message, Measured + Time, Window, 0, 0),
    Sent = sum(To),
    {Sent, erlang:monotonic_time() - Measured}.

sum(To) ->
    To ! {sum, self()},
    (fun Wait() -> receive {sum, Count} -> Count; acknowledged -> Wait() end end)().

%% Open counts what has been sent and not been acknowledged.
send(To, Message, End, {Most, _} = Window, Count, Open) when Open >= Most ->
    receive acknowledged -> send(To, Message, End, Window, Count, Open - element(2, Window)) end;
send(To, Message, End, {_, Batch} = Window, Count, Open) ->
    stretch(To, Message, ?STRETCH),
    Sent = Count + ?STRETCH,
    case Batch =/= infinity andalso Sent rem Batch =:= 0 of
        true -> To ! {acknowledge, self()};
        false -> ok
    end,
    case erlang:monotonic_time() < End of
        true -> send(To, Message, End, Window, Sent, Open + ?STRETCH);
        false -> Sent
    end.

stretch(_, _, 0) -> ok;
stretch(To, Message, Left) -> To ! Message, stretch(To, Message, Left - 1).

nanos(Time) ->
    erlang:convert_time_unit(Time, native, nanosecond).
