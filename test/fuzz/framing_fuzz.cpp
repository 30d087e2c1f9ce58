// leat::net's framing: lines, frames and the rest, read in an order that the input says, from bytes that arrive in pieces
// of any size. Whatever the pieces, what is read is the same, and what the naive twin reads from the whole.
//
// The first byte of an input says how large the pieces are, the second how many reads follow, of which each has two; the
// rest arrives.
#include "fuzz.hpp"

#include "../support/fake_stream.hpp"

#include <leat/asio/net/error.hpp>
#include <leat/asio/net/stream.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace net = leat::net;

constexpr std::size_t max_buffer = 64;

struct step {
    unsigned what;
    std::size_t size;
};

/// What each read gave: the bytes, behind "="; "end"; or "error".
using outcome = std::vector<std::string>;

net::frame_format format_of(const step& of)
{
    return {std::size_t{1} << (of.size % 4), 200};
}

// ---- The twin ------------------------------------------------------------------------------------

class twin {
public:
    explicit twin(std::string_view bytes) : rest_{bytes}
    {
    }
    std::string read(const step& how)
    {
        switch (how.what % 3) {
        case 0: return line(how.size);
        case 1: return exactly(how.size);
        default: return frame(format_of(how));
        }
    }

private:
    std::string take(std::size_t count, std::size_t more = 0)
    {
        std::string taken{"="};
        taken += rest_.substr(0, count);
        rest_.remove_prefix(count + more);
        return taken;
    }
    std::string line(std::size_t limit)
    {
        if (rest_.empty())
            return "end";
        const std::size_t most = limit == 0 ? max_buffer : std::min(limit, max_buffer);
        const std::size_t end = rest_.substr(0, most).find('\n');
        if (end == std::string_view::npos)
            return "error";
        const std::size_t returns = end > 0 && rest_[end - 1] == '\r' ? 1 : 0;
        return take(end - returns, returns + 1);
    }
    std::string exactly(std::size_t count)
    {
        return count > max_buffer || rest_.size() < count ? "error" : take(count);
    }
    std::string frame(const net::frame_format& format)
    {
        if (rest_.empty())
            return "end";
        if (rest_.size() < format.header)
            return "error";
        std::uint64_t length = 0;
        for (std::size_t i = 0; i < format.header; ++i)
            length = length << 8U | static_cast<unsigned char>(rest_[i]);
        if (length > format.max_size || rest_.size() - format.header < length)
            return "error";
        rest_.remove_prefix(format.header);
        return take(static_cast<std::size_t>(length));
    }

    std::string_view rest_;
};

// ---- The stream ----------------------------------------------------------------------------------

leat::task<std::string> read(net::stream<test::fake_stream>& from, step how)
{
    std::optional<std::string> got;
    switch (how.what % 3) {
    case 0: got = co_await from.read_line(how.size); break;
    case 1: got = co_await from.read_exactly(how.size); break;
    default: got = co_await from.read_frame(format_of(how)); break;
    }
    co_return got ? "=" + *got : std::string{"end"};
}

outcome read_all(std::string_view bytes, std::size_t piece, const std::vector<step>& steps)
{
    leat::sim::world world;
    const test::fake_connection wire;
    wire.to_near->chunk = piece;
    wire.arrive(bytes);
    wire.close();
    outcome got;
    auto body = [&]() -> leat::task<> {
        net::stream_options options;
        options.max_buffer = max_buffer;
        net::stream<test::fake_stream> from{wire.near(), options};
        for (const step& each : steps) {
            const auto one = co_await leat::as_result(read(from, each));
            got.push_back(one ? *one : "error");
            if (!one) {
                // The end of what can be compared: where the stream stands after an error is its own affair.
                fuzz::expect(one.error() == net::errc::too_long || one.error() == net::errc::truncated,
                             "an error of another kind");
                break;
            }
            fuzz::expect(from.buffered() <= 4096, "it keeps more than it may");
        }
    };
    world.run(body());
    return got;
}

}  // namespace

void fuzz::one_input(std::string_view input)
{
    if (input.size() < 2)
        return;
    const std::size_t piece = 1 + static_cast<unsigned char>(input[0]) % 40U;
    const std::size_t count = static_cast<unsigned char>(input[1]) % 16U;
    input.remove_prefix(2);
    std::vector<step> steps;
    while (steps.size() < count && input.size() >= 2) {
        steps.push_back({static_cast<unsigned char>(input[0]), static_cast<unsigned char>(input[1]) % 100U});
        input.remove_prefix(2);
    }
    outcome wanted;
    twin naive{input};
    for (const step& each : steps) {
        wanted.push_back(naive.read(each));
        if (wanted.back() == "error")
            break;
    }
    expect(read_all(input, 1 << 20, steps) == wanted, "not what the twin reads");
    expect(read_all(input, piece, steps) == wanted, "pieces make a difference");
}
