// expect: given back by move assignment
#include <leat/channel.hpp>

#include <utility>

class awkward {
public:
    explicit awkward(int n) : tag_{n}
    {
    }
    // It may throw, and the const member leaves no assignment.
    awkward(awkward&& other) noexcept(false) : tag_{other.tag_}
    {
    }
    awkward(const awkward& other) : tag_{other.tag_}
    {
    }

private:
    const int tag_;
};

leat::result<> offer(const leat::channel<awkward>& to, awkward value)
{
#ifdef MISTAKE
    return to.try_send(std::move(value));
#else
    return to.try_send(std::as_const(value));
#endif
}
