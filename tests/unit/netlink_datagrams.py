"""Netlink datagrams as the kernel sent them (Linux 6.x, a veth pair, ifindex 3).

Each is what a socket in the groups of kernel/watch.py received after the command
beside it; packed, as most of a link's message is counters that are zero.
"""

from __future__ import annotations

import base64
import zlib

IFINDEX = 3


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


# `ip link set eth0 up` with nothing at the other end
NO_CARRIER = _unpacked(
    "c-rk#yGjF55Iy_2W)q^W8W0qGp!mSTMa3enZ~XwlBBfv!tP~-!-qOOtPslF_euY?CSoi^AVP#<#XJ$vTE+L{~BOcg2cXl3o?"
    "wz@J2Jn%F1&7{_&nqBDRy6=TbmNg6hN9VT&?nIb+rl1PJQ(H$?1;UHW|MhX{Uge&%A>G_XEbhB{_UZxyso^Vyn@$ejyTl#Ev"
    "+*qbqvPUo)Fz0=G6|w?h;kZyQ+IyxIo^U@bc>Vkk>ZVW&pPs#9u*`y7=2DVvf$#mbH(5<mp_`qS{f?gTzy$(?32rtw;3;fir"
    "{)`g$(iNl)L$2Pyt3d}=w*a28y@VHZee@~0B%<r%mi$YZ~f<h<zKcp7=mvpRWd8ojOhaXF88FS$z<yLHFXIR{Veby}G{zw5R"
    "#G3anU@$+&=zran1_saUSaZ8qiDg5Ir2x-Q@d)rEFG7U{7V-h`|=DS#nU2Mj0`I$df"
)
# `ip link set` of its other end `up`
CARRIER = _unpacked(
    "c-p(d%D^DNfD9NJn1Q6T03(>k4&<d6Ffed1@G`srO0WV|voU~ZL9je4gEN@sU|?am!wRB}7+k=7V}}3#L9{efUJgpzLTPyhC"
    "NQl5Ri_EIn}fj$O4~ze2PkdL@Z&!_khX!UcY>Ou05*q}L6LzG%vXk*s}JQHfN3_ct3b3X)ZOY}nhPj<%4WjGEy*A@6VPlBU|"
    "=}IAkHvcKngGxX$^Q7w1HvD1ZE2`2r+O1!?i56Bm)vh5E&j|=;!4ZmZp}bG8iyRG4udMI~W+zQXeX2K%yxH0>CH-rD1dcGJg"
    "RR7toy$n?!)_1*L%-!ki2t5fD9Jpne0TMo>COcPA*-EZ|3&-(bbb&=3g8OA$<nJcg_%;T3jwGNSnz=59tbH4J#dr{SF$UU@K"
    "Jflwg7g4~a;&V-SfL5*P)kOFLgX`I~LCW1vLD=<}pfC>X2LH#TYb`2~Hjtu~anLnH"
)
# `ip addr add 192.0.2.1/24 dev eth0`
ADDRESS = _unpacked("c-r$}U|<jdV!leo>~bCk1}2FH24*0igMpFZ00R>v2LltBW(SI<7=Xk%7#hHO*ckppftd&=0|)~EaLEnx")
# `ip route add 198.51.100.0/24 via 192.0.2.2`
ROUTE = _unpacked("c-pgJU|^77U|{2~WX!JSVPIeaa{e(hFam`cI2iaD{()&mhGWJlK$?}|00R>f2LlTOGf*4=&V>d|")
# `ip link set eth0 nomaster`: RTM_DELLINK of family AF_BRIDGE, though eth0 is there and up
LEFT_BRIDGE = _unpacked(
    "c-jkLU|<krKmc|IMh0de?JU3u<ufy+7%(t!FmN%jFo0+lhC8eb46F<S3~WF?7f}5vn+Y4YB!lEw8JK`#0H{|5`2"
)
# `ip link set eth0 down`
ADMIN_DOWN = _unpacked(
    "c-rk#yGq1R5IuRh$+BwH1wp|FiVrLdDi&*e>jwxHTMBN#N)dLgQ(9Q~3Hu9zUm=zj7Jh(OSXtP`naRk;u&k)qhzF8$Z|0G6X"
    "Xf5HfR8K;SoAi1UI7K#)dIjpHy+90khcluKJj+2E$qU^gTuUl9oa7;NtlP#KBBy;JSury%&6b2{M$uEd0lx!c?GXYfjCtEEz"
    "L8gdd77>A^Kg+i+&e@*t<j(^RDWi7A}(4O?Y{AeaLH*ax;Ki4C1e#MqT`ElrTp%HD&FiA0E~9EUF)+JxMJks{ZlGX(MVx2&^"
    "Go(ARV6Qg-@2KFIJ-;Zw_bhV$V3O|wWk(?69-FVDdJfQS8R8uOxO<7wnM&+Fu=Y4*1A#}yCpUV4|RX6ue+V-B9$>ojs_e%Ec"
    "}e9)mj@$+&=yTDF~&&vAqeoKahDg5Ir2x-Q@d)vxwA|0Aa#w2<^jkmED+t`fX00J~WSO"
)
# `ip link del eth0`
DELETED = _unpacked(
    "c-q~OJq`g;5Xb-4E{`BfBO&n-5=3D`$NJ_ZR-&>BQST8PLo0C#aRdi&1Re8cr_iZ1rg*=Zosai_vnK<{;?p9C(rMVhi!4r&="
    "Ku<6JSbto2DK2wE(>#}f{DAO*~Nn69`$P$C0`N_g=L<j(3H9s->uLWj)fE908dh*;7a{W=2S#aRpJ`!SLjfero;IdtI}MG?g"
    "leSRaf_TzO1xw@SFAg8}j%U^AP{}9VxVFrw02ra!Al#59|FV{3jNFPtf+azQ5DHi2~}#e4T4z6quL>Z=iuCdj"
)
