// Two ends of a connection without a system below: for a sim::world, where nothing else can be read or written, and
// where every byte arrives when the test says so. Both ends may be used by several threads.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace test {

/// Bytes on their way from one end to the other. Handlers are called without the lock.
class fake_pipe {
public:
    // For the test, while nobody else is at work.
    std::size_t room = 1 << 20;   ///< how many bytes may be on their way
    std::size_t chunk = 1 << 20;  ///< how many a read or a write takes at a time
    bool closed = false;          ///< by the writing end
    bool reset = false;

    void put(std::string_view what)
    {
        change([&] { bytes_ += what; });
    }
    std::string take(std::size_t most = static_cast<std::size_t>(-1))
    {
        std::string all;
        change([&] {
            all = bytes_.substr(0, most);
            bytes_.erase(0, most);
        });
        return all;
    }
    std::size_t size()
    {
        const std::lock_guard hold{lock_};
        return bytes_.size();
    }
    void close()
    {
        change([&] { closed = true; });
    }

    template <class Handler>
    void read(asio::mutable_buffer into, Handler&& handler)
    {
        wait(reader_, into, std::forward<Handler>(handler));
    }
    template <class Handler>
    void write(asio::const_buffer from, Handler&& handler)
    {
        wait(writer_, from, std::forward<Handler>(handler));
    }
    void abort_reads()
    {
        cancel(reader_, reader_.number);
    }

private:
    class completion {
    public:
        completion() = default;
        completion(const completion&) = delete;
        completion& operator=(const completion&) = delete;
        virtual ~completion() = default;
        virtual void call(std::error_code why, std::size_t count) = 0;
    };
    template <class Handler>
    class completion_of final : public completion {
    public:
        explicit completion_of(Handler&& handler) : handler_{std::move(handler)}
        {
        }
        void call(std::error_code why, std::size_t count) override
        {
            std::move(handler_)(why, count);
        }

    private:
        Handler handler_;
    };
    /// At most one of a kind is pending.
    template <class Buffer>
    struct pending {
        std::unique_ptr<completion> whose;
        Buffer memory;
        std::uint64_t number = 0;
    };
    struct ended {
        std::unique_ptr<completion> whose;
        std::error_code why;
        std::size_t count;
    };

    template <class Buffer, class Handler>
    void wait(pending<Buffer>& where, Buffer memory, Handler&& handler)
    {
        auto slot = asio::get_associated_cancellation_slot(handler);
        std::unique_ptr<completion> replaced;
        change([&] {
            // What was there was abandoned with its frame.
            replaced = std::exchange(where.whose, std::make_unique<completion_of<std::decay_t<Handler>>>(
                                                      std::forward<Handler>(handler)));
            where.memory = memory;
            ++where.number;
            if (slot.is_connected())
                slot.assign(
                    [this, &where, mine = where.number](asio::cancellation_type) { cancel(where, mine); });
        });
    }
    template <class Buffer>
    void cancel(pending<Buffer>& where, std::uint64_t number)
    {
        std::unique_ptr<completion> whose;
        {
            const std::lock_guard hold{lock_};
            if (where.number == number)
                whose = std::move(where.whose);
        }
        if (whose)
            whose->call(asio::error::operation_aborted, 0);
    }
    template <class F>
    void change(F how)
    {
        std::vector<ended> over;
        over.reserve(2);  // first, so that no byte is lost for want of memory
        {
            const std::lock_guard hold{lock_};
            how();
            while (step(over)) {}
        }
        for (const ended& each : over)
            each.whose->call(each.why, each.count);
    }
    bool step(std::vector<ended>& over)
    {
        if (writer_.whose && (closed || reset)) {
            over.push_back({std::move(writer_.whose), asio::error::broken_pipe, 0});
            return true;
        }
        if (writer_.whose && (bytes_.size() < room || writer_.memory.size() == 0)) {
            const std::size_t count = std::min({writer_.memory.size(), room - bytes_.size(), chunk});
            bytes_.append(static_cast<const char*>(writer_.memory.data()), count);
            over.push_back({std::move(writer_.whose), {}, count});
            return true;
        }
        if (!reader_.whose)
            return false;
        if (reset) {
            over.push_back({std::move(reader_.whose), asio::error::connection_reset, 0});
        } else if (!bytes_.empty()) {
            const std::size_t count = std::min({reader_.memory.size(), bytes_.size(), chunk});
            bytes_.copy(static_cast<char*>(reader_.memory.data()), count);
            bytes_.erase(0, count);
            over.push_back({std::move(reader_.whose), {}, count});
        } else if (closed) {
            over.push_back({std::move(reader_.whose), asio::error::eof, 0});
        } else {
            return false;
        }
        return true;
    }

    std::mutex lock_;
    std::string bytes_;
    pending<asio::mutable_buffer> reader_;
    pending<asio::const_buffer> writer_;
};

class fake_stream {
public:
    using executor_type = asio::any_io_executor;

    fake_stream(std::shared_ptr<fake_pipe> in, std::shared_ptr<fake_pipe> out)
        : in_{std::move(in)}, out_{std::move(out)}
    {
    }
    executor_type get_executor() const
    {
        return {};
    }
    template <class Buffers, class Token>
    auto async_read_some(const Buffers& into, Token&& token)
    {
        const asio::mutable_buffer first = *asio::buffer_sequence_begin(into);
        return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
            [pipe = in_, first](auto handler) { pipe->read(first, std::move(handler)); }, token);
    }
    template <class Buffers, class Token>
    auto async_write_some(const Buffers& from, Token&& token)
    {
        asio::const_buffer first;
        for (auto each = asio::buffer_sequence_begin(from); each != asio::buffer_sequence_end(from); ++each)
            if (first.size() == 0)
                first = *each;
        return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
            [pipe = out_, first](auto handler) { pipe->write(first, std::move(handler)); }, token);
    }
    void shutdown()
    {
        out_->close();
    }
    void close()
    {
        shutdown();
        in_->abort_reads();
        in_->close();
    }

private:
    std::shared_ptr<fake_pipe> in_;
    std::shared_ptr<fake_pipe> out_;
};

/// The stream under test has `near()`; the test plays the other side by hand.
struct fake_connection {
    std::shared_ptr<fake_pipe> to_near = std::make_shared<fake_pipe>();
    std::shared_ptr<fake_pipe> from_near = std::make_shared<fake_pipe>();

    fake_stream near() const
    {
        return {to_near, from_near};
    }
    void arrive(std::string_view what) const
    {
        to_near->put(what);
    }
    void close() const
    {
        to_near->close();
    }
    /// What has been written; room for more.
    std::string take() const
    {
        return from_near->take();
    }
};

}  // namespace test
