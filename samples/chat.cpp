// A chat server with rooms
//
// Who connects says a name, and is in the room "hall". A line that begins with a slash is a command (/join ROOM, /who,
// /quit); any other goes to everybody in the room. Each member has an outbox, a channel that his own task empties
// onto the connection, so that nobody who speaks ever waits for anybody who reads. A reader who is slower than his
// outbox is long is dropped: that is the policy, and he is the only one who notices.
//
// Run it with   ./dev run chat [port [outbox [members]]]   and talk to it with   nc localhost 7001
#include <leat/asio/net.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace net = leat::net;
using namespace std::chrono_literals;

namespace {

/// Lines are shared by all who get them.
using line = std::shared_ptr<const std::string>;

line make_line(std::string text)
{
    return std::make_shared<const std::string>(std::move(text) + "\n");
}

/// Who is where. Only short work is done under the lock, and nobody waits in it: try_send() never does.
class rooms {
public:
    /// False if there is such a name.
    bool enter(const std::string& name, const leat::channel<line>& outbox, const leat::channel<void>& dropped)
    {
        const std::lock_guard hold{lock_};
        return members_.emplace(name, member{outbox, dropped, "hall"}).second;
    }
    void leave(const std::string& name)
    {
        const std::lock_guard hold{lock_};
        members_.erase(name);
    }
    void move(const std::string& name, std::string room)
    {
        const std::lock_guard hold{lock_};
        members_.at(name).room = std::move(room);
    }
    /// To everybody in the speaker's room but himself. Whose outbox is full is dropped.
    void tell(const std::string& speaker, const line& what)
    {
        const std::lock_guard hold{lock_};
        const std::string& room = members_.at(speaker).room;
        for (auto& [name, each] : members_)
            if (each.room == room && name != speaker && !each.outbox.try_send(line{what}))
                each.dropped.close();
    }
    std::string list(const std::string& asker)
    {
        const std::lock_guard hold{lock_};
        const std::string& room = members_.at(asker).room;
        std::string all = room + ":";
        for (const auto& [name, each] : members_)
            if (each.room == room)
                all += " " + name;
        return all;
    }

private:
    struct member {
        leat::channel<line> outbox;
        leat::channel<void> dropped;
        std::string room;
    };
    std::mutex lock_;
    std::map<std::string, member> members_;
};

/// In a room for as long as it lives.
class presence {
public:
    presence(rooms& of, std::string name) : of_{of}, name_{std::move(name)}
    {
    }
    presence(const presence&) = delete;
    presence& operator=(const presence&) = delete;
    ~presence()
    {
        of_.tell(name_, make_line("* " + name_ + " has left"));
        of_.leave(name_);
    }

private:
    rooms& of_;
    std::string name_;
};

using stream = net::stream<net::socket>;

/// Onto the connection.
leat::task<> deliver(stream& peer, leat::receiver<line> outbox)
{
    while (const auto next = co_await outbox.recv())
        co_await peer.write(**next);
}

leat::task<> wait_for_drop(leat::receiver<void> dropped)
{
    static_cast<void>(co_await dropped.recv());
}

leat::task<> listen_to(stream& peer, rooms& all, const std::string& name, const leat::channel<line>& outbox)
{
    while (auto said = co_await leat::unless_draining(peer.read_line())) {
        const std::string_view text{*said};
        if (text == "/quit")
            break;
        if (text == "/who") {
            co_await outbox.send(make_line(all.list(name)));
        } else if (text.substr(0, 6) == "/join " && text.size() > 6) {
            all.tell(name, make_line("* " + name + " has left"));
            all.move(name, std::string{text.substr(6)});
            all.tell(name, make_line("* " + name + " has come"));
            co_await outbox.send(make_line("* you are in " + std::string{text.substr(6)}));
        } else if (!text.empty() && text.front() == '/') {
            co_await outbox.send(make_line("* commands: /join ROOM, /who, /quit"));
        } else if (!text.empty()) {
            all.tell(name, make_line(name + ": " + *said));
        }
    }
}

leat::task<> session(net::socket accepted, rooms& all, std::size_t outbox_size)
{
    net::stream_options limits;
    limits.max_buffer = 1024;
    limits.write_timeout = 10s;
    limits.idle_timeout = 1h;
    stream peer{std::move(accepted), limits};
    co_await peer.write("* your name?\n");
    const auto answer = co_await leat::unless_draining(peer.read_line(32));
    if (!answer || answer->empty())
        co_return;
    const std::string name = *answer;
    leat::channel<line> outbox{outbox_size};
    const leat::channel<void> dropped;
    // Before anybody can speak to him: it is the first that he reads, and there is room for it.
    co_await outbox.send(make_line("* welcome, " + name));
    if (!all.enter(name, outbox, dropped)) {
        co_await peer.write("* this name is taken\n");
        co_await peer.close();
        co_return;
    }
    {
        const presence here{all, name};
        all.tell(name, make_line("* " + name + " has come"));
        // The first to end ends the others, also a write that is stuck.
        const auto first = co_await leat::when_any(deliver(peer, outbox), listen_to(peer, all, name, outbox),
                                                   wait_for_drop(dropped));
        if (first.index == 2)
            co_return;
    }
    co_await peer.close();
}

leat::task<> server(unsigned short port, std::size_t outbox_size, std::size_t members)
{
    rooms all;
    net::acceptor acceptor = net::listen(leat::this_task::executor(), {net::tcp::v4(), port});
    std::fprintf(stderr, "listening on port %d\n", acceptor.local_endpoint().port());
    net::listen_options options;
    options.max_connections = members;
    auto talk = [&](net::socket accepted) { return session(std::move(accepted), all, outbox_size); };
    co_await leat::listen_and_serve(acceptor, talk, options);
}

}  // namespace

int main(int argc, char** argv)
{
    const auto number = [&](int index, std::size_t otherwise) {
        return argc > index ? static_cast<std::size_t>(std::atoi(argv[index])) : otherwise;
    };
    try {
        leat::serve(server(static_cast<unsigned short>(number(1, 7001)),
                           std::max<std::size_t>(number(2, 64), 2), number(3, 1000)));
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "chat: %s\n", problem.what());
        return 1;
    }
}
