// PUBLISH, SUBSCRIBE and their like.
#include "client.hpp"
#include "commands.hpp"

#include <cstdint>

namespace mini_redis {
namespace {

void publish(session& s, arguments words)
{
    s.out.integer(static_cast<std::int64_t>(s.of.topics.publish(words[1], words[2])));
}

leat::task<> subscribe(client& c, arguments words)
{
    return c.subscribe(topic::channel, words.subspan(1));
}
leat::task<> psubscribe(client& c, arguments words)
{
    return c.subscribe(topic::pattern, words.subspan(1));
}
leat::task<> unsubscribe(client& c, arguments words)
{
    return c.unsubscribe(topic::channel, words.subspan(1));
}
leat::task<> punsubscribe(client& c, arguments words)
{
    return c.unsubscribe(topic::pattern, words.subspan(1));
}

}  // namespace

std::span<const command> topic_commands()
{
    static constexpr command table[] = {
        {"publish", 3, command::either, 0, 0, 0, publish},
        {"subscribe", -2, command::either, 0, 0, 0, nullptr, subscribe, true},
        {"psubscribe", -2, command::either, 0, 0, 0, nullptr, psubscribe, true},
        {"unsubscribe", -1, command::either, 0, 0, 0, nullptr, unsubscribe, true},
        {"punsubscribe", -1, command::either, 0, 0, 0, nullptr, punsubscribe, true},
    };
    return table;
}

}  // namespace mini_redis
