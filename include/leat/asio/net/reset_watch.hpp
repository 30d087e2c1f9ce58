// Who notices that a peer has reset its connection, although no task reads or writes.
//
// The connections of a server are registered in an epoll of their own, beside the one of Asio's reactor, for no event:
// errors are told all the same, once. So it costs a system call for each connection and none for what goes over it.
// (The road not taken is Asio's async_wait(wait_error): while one is pending, Asio registers a socket anew for each
// read.)
//
// A registration ends when the system drops it, with the last descriptor of the connection. It is not taken back: by then
// the number may be another connection's. What is told of a connection that is no longer served finds nobody.
#pragma once

#include <leat/context.hpp>

#include <asio/any_io_executor.hpp>

#include <cstdint>
#include <memory>

namespace leat::net::detail {

class reset_watch {
public:
    /// Where the system has no epoll, or no descriptor for one, nothing is noticed. Throws std::bad_alloc.
    explicit reset_watch(const asio::any_io_executor& on);
    reset_watch(const reset_watch&) = delete;
    reset_watch& operator=(const reset_watch&) = delete;
    ~reset_watch();

private:
    friend class watched_for_reset;
    struct state;

    std::shared_ptr<state> state_;  ///< shared with the handler that waits
};

/// One connection, as long as it is served. The context has to live as long.
class watched_for_reset {
public:
    /// If there is nobody to watch, nothing is noticed.
    watched_for_reset(reset_watch* by, int descriptor, const context& to_end);
    watched_for_reset(const watched_for_reset&) = delete;
    watched_for_reset& operator=(const watched_for_reset&) = delete;
    ~watched_for_reset();

private:
    reset_watch::state* by_ = nullptr;
    std::uint64_t number_ = 0;
};

}  // namespace leat::net::detail
