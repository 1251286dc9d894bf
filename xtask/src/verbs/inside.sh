# Runs in the virtual machine, with the programs beside it: two soft-RoCE devices, rxe0 (10.77.0.1) and rxe1 (10.77.0.2),
# at the ends of one wire; then our software NIC in a namespace at the second end. Prints a line for each part.
#   inside.sh DIRECTORY [PART..]      without parts: all
cd "$1" || exit 1
shift
wanted=${*:-tests idle queues ping-pong all-to-all exact netem killed times mixed mixed-netem}
failed=0
MESS="loss 5% delay 1ms duplicate 1% reorder 5%"
echo "kernel $(uname -r)"

# part NAME COMMAND..: runs it, if it is wanted, and says what became of it.
part() {
    name=$1
    shift
    case " $wanted " in *" $name "*) ;; *) return ;; esac
    begun=$(cut -d' ' -f1 /proc/uptime)
    if "$@" > /run/part 2>&1; then what=ok; else what=FAILED; failed=1; fi
    took=$(echo "$(cut -d' ' -f1 /proc/uptime) $begun" | awk '{ printf "%.0f", $1 - $2 }')
    echo "$name: $what, $took s"
    if [ $what = FAILED ]; then tail -40 /run/part; else grep -E "^test result|^RDMA:|verified|^total|^bare|^ours|waits|^signals" /run/part; fi
}

# Two programs, one in each place, that are told of each other by their arguments. The first listens.
both() {
    timeout 100 $1 & first=$!
    sleep 1.5
    timeout 100 $2
    second=$?
    wait $first && [ $second = 0 ]
}

# The end-to-end tests of RDMA, and those of the queues of the low layer: the latter without simulated devices.
end_to_end() {
    DPA_TEST_ADDRESSES=10.77.0.1,10.77.0.2 DPA_RDMA=verbs timeout 200 "$@" --test-threads 1
}

# A write and a signal: how long each takes by itself, and by a kernel. Then how late the end of a wait for a signal is.
measured() {
    for _ in 1 2 3; do
        timeout 60 ./verbs_bare 10.77.0.1 1000 && DPA_RDMA=verbs timeout 60 ./verbs_work work 10.77.0.1 1000 || return 1
    done
    DPA_RDMA=verbs timeout 100 ./verbs_work wait 10.77.0.1 10.77.0.2
}

ping_pong() {
    both "$1 ./ping-pong --rounds 30 --rdma 10.77.0.1 listen 10.77.0.1:7471" \
        "$2 ./ping-pong --rounds 30 --rdma 10.77.0.2 connect 10.77.0.1:7471"
}

all_to_all() {
    one="./all-to-all 3 --rounds 3 --bytes 20000 --address 10.77.0.1:7472"
    timeout 100 $one --rank 1 --rdma 10.77.0.2 & a=$!
    timeout 100 $one --rank 2 --rdma 10.77.0.1 & b=$!
    timeout 100 $one --rank 0 --rdma 10.77.0.1 && wait $a && wait $b
}

# Every kind of work, exactly once, judged by both nodes: each hears what the other says.
exact() {
    rm -f /run/to-a /run/to-b
    mkfifo /run/to-a /run/to-b
    { timeout 110 $1 ./netns-node 10.77.0.1 7 67 < /run/to-a; echo $? > /run/code-a; } |
        tee -p /run/said-a > /run/to-b & first=$!
    timeout 110 $2 ./netns-node 10.77.0.2 7 67 < /run/to-b | tee -p /run/said-b > /run/to-a
    second=${PIPESTATUS[0]}
    wait $first
    [ "$(cat /run/code-a)" = 0 ] && [ $second = 0 ] || { tail -n 3 /run/said-a /run/said-b; return 1; }
}

# A bad network at both ends: on `$1` and on `$2`.
bad() {
    $1 tc qdisc add dev veth0 root netem $MESS
    $2 tc qdisc add dev veth1 root netem $MESS
}

good() {
    $1 tc qdisc del dev veth0 root
    $2 tc qdisc del dev veth1 root
}

exact_netem() {
    bad "$1" "$2"
    exact "$1" "$2"
    outcome=$?
    good "$1" "$2"
    return $outcome
}

# A node whose peer is killed says so, within (retries + 1) x 4 x 67 ms and what the machine needs to notice.
killed() {
    timeout 100 ./ping-pong --rounds 100000 --rdma 10.77.0.1 listen 10.77.0.1:7473 > /run/killed 2>&1 & first=$!
    sleep 1.5
    ./ping-pong --rounds 100000 --rdma 10.77.0.2 connect 10.77.0.1:7473 > /dev/null 2>&1 & second=$!
    sleep 4
    kill -9 $second
    for _ in $(seq 100); do
        kill -0 $first 2> /dev/null || break
        sleep 0.1
    done
    if kill -0 $first 2> /dev/null; then echo "it still runs after 10 s"; kill $first; return 1; fi
    wait $first
    code=$?
    cat /run/killed
    [ $code = 1 ] && grep -q "the peer was lost after" /run/killed
}

# The second end moves to a namespace, where no driver holds the port: there our software NIC speaks.
apart() {
    rdma link delete rxe1
    ip netns add ours
    ip link set veth1 netns ours
    ip netns exec ours ip link set lo up
    ip netns exec ours ip link set veth1 mtu 4200 up
    ip netns exec ours ip addr add 10.77.0.2/24 dev veth1
    ip netns exec ours ip neigh replace 10.77.0.1 lladdr "$(cat /sys/class/net/veth0/address)" dev veth1 nud permanent
    there=$(ip netns exec ours cat /sys/class/net/veth1/address)
    ip link set veth0 mtu 4200
    ip neigh replace 10.77.0.2 lladdr "$there" dev veth0 nud permanent
    sleep 0.3
}

part tests end_to_end ./rdma-tests
part idle end_to_end ./idle_nic-tests
part queues end_to_end ./queues-tests --skip fences
part ping-pong ping_pong "" ""
part all-to-all all_to_all
part exact exact "" ""
part netem exact_netem "" ""
part killed killed
part times measured
case "$wanted" in *mixed*) apart ;; esac
SOFT="ip netns exec ours env DPA_RDMA=soft"
mixed() {
    ping_pong "" "$SOFT" && exact "" "$SOFT"
}
part mixed mixed
part mixed-netem exact_netem "" "$SOFT"
exit $failed
