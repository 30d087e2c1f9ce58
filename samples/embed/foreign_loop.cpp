// leat beside an event loop that is not Asio's: the loop sleeps in poll(), and gives the io_context its turn
//
// A program with a loop of its own (a toolkit's, a game's, here one around poll()) owns its thread and will not call
// io_context::run(). Its tasks live on an io_context that nobody runs but the loop, between its own events, with
// io_context::poll(). The loop's callbacks talk to the tasks through a channel, the tasks to the loop by its own means.
//
// Run it with   ./dev run embed_foreign_loop
#include <leat/asio/spawn.hpp>
#include <leat/leat.hpp>

#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

/// The loop of somebody else's: it knows descriptors, and a function to be called when it has nothing to do.
class event_loop {
public:
    event_loop()
    {
        if (::pipe(pipe_.data()) != 0)
            std::perror("pipe");
        for (const int end : pipe_)
            ::fcntl(end, F_SETFL, O_NONBLOCK);
    }
    event_loop(const event_loop&) = delete;
    event_loop& operator=(const event_loop&) = delete;
    ~event_loop()
    {
        ::close(pipe_[0]);
        ::close(pipe_[1]);
    }

    /// From any thread.
    void press_key(char key) const
    {
        if (::write(pipe_[1], &key, 1) != 1)
            std::perror("write");
    }

    /// Until `over`. Calls `key(c)` for what comes in, and `idle()` at least every `period`.
    template <class Key, class Idle>
    void run(const bool& over, std::chrono::milliseconds period, Key key, Idle idle)
    {
        while (!over) {
            pollfd entry{pipe_[0], POLLIN, 0};
            ::poll(&entry, 1, static_cast<int>(period.count()));
            for (char c = 0; ::read(pipe_[0], &c, 1) == 1;)
                key(c);
            idle();
        }
    }

private:
    std::array<int, 2> pipe_{};
};

/// Counts keys until there are none for a while, as tasks do: by waiting for two things.
leat::task<int> count_keys(leat::receiver<char> keys)
{
    int count = 0;
    for (bool more = true; more;)
        co_await leat::select(leat::on(keys.recv(),
                                       [&](std::optional<char> key) {
                                           if (!key)
                                               more = false;
                                           else
                                               std::printf("key %d: %c\n", ++count, *key);
                                       }),
                              leat::on(leat::after(10s), [&] { more = false; }));
    co_return count;
}

/// Types, and takes its time about it.
leat::task<> type(const event_loop& into)
{
    for (const char key : {'l', 'e', 'a', 't', '\n'}) {
        co_await leat::sleep_for(1ms);
        into.press_key(key);
    }
}

}  // namespace

int main()
{
    event_loop loop;
    asio::io_context io;
    const leat::channel<char> keys{leat::unbounded};
    bool over = false;
    int counted = 0;
    leat::spawn(io, count_keys(keys), [&](std::exception_ptr, int count) {
        counted = count;
        over = true;
    });
    leat::spawn(io, type(loop), asio::detached);
    loop.run(
        over, 1ms,
        [&](char key) {
            if (key == '\n')
                keys.close();
            else
                static_cast<void>(keys.try_send(key));
        },
        [&] { io.poll(); });
    std::printf("%d keys\n", counted);
    return counted == 4 ? 0 : 1;
}
